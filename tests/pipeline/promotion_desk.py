"""A state folder with bars, a data set and two registered models that trade, for tests of promotion."""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import torch

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.features import Scaler
from cappuccino_ml.policy import Actor, AgentConfig, AgentSettings, TrainingSettings, build_agent, save_agent
from cappuccino_ml.registry import ModelCard
from cappuccino_ml.study import SplitSettings
from cappuccino_ml.trading import read_deployment
from cappuccino_ml.trading.decision import GoSettings
from cappuccino_ml.trading.paper import PaperReport, read_paper
from cappuccino_pipeline import demo
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.definitions import definitions_for
from cappuccino_pipeline.doctor import report as doctor
from cappuccino_pipeline.jobs import months_tags
from cappuccino_pipeline.model_card import evidence_of
from cappuccino_pipeline.plans import Plan
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.sensors import DEPLOYMENT, follow_aliases

UNIVERSE = Universe(tickers=("BTC", "ETH", "LTC"))
PLAN = Plan(
    splits=SplitSettings(folds=1, holdout_share=0.25, paper_bars=48, max_lookback=2, memory_bars=40),
    rehearsal_bars=24,
    go=GoSettings(resamples=199),
)


@dataclass
class Desk:
    """A state folder with bars, a data set and two registered models that trade."""

    cappuccino: Cappuccino
    instance: dg.DagsterInstance
    cursor: str | None = None

    def register(self, folder: Path, *, seed: int) -> str:
        """An untrained agent with a loud head, registered as a study would."""
        dataset = self.cappuccino.dataset
        schema, rows = dataset.market.schema, dataset.splits.development
        shape = (len(schema.tickers), len(schema.features))
        training = TrainingSettings(agent=AgentSettings(lookback=2, net_dimension=16))
        agent = build_agent(training.agent, tickers=shape[0], features=shape[1], seed=seed)
        with torch.no_grad():
            agent.actor.out.weight.mul_(60.0)
        config = AgentConfig(
            training=training,
            feature_schema=schema,
            scaler=Scaler.fit(dataset.market.features, slice(*rows), schema=schema),
            dataset_key=dataset.key,
            rows=rows,
            trained_until=dataset.time(rows[1]),
            seed=seed,
            encoder_key=None,
            code="0" * 12,
        )
        window = dataset.market.features[rows[1] - 2 : rows[1]]
        config = save_agent(folder, agent=agent, config=config, history=[], example_window=window)
        card = ModelCard(
            key=config.key,
            arm="mlp",
            study_key="a study",
            outcome="win",
            schema_hash=schema.hash,
            data_manifest=dataset.key,
            dagster_run_id="run-of-the-study",
            source_label="simulated",
        )
        evidence = evidence_of(dataset=dataset, actor=Actor.load(folder), report=None)
        return self.cappuccino.registry.register(folder, card=card, evidence=evidence)

    def follow(self, *, report: bool = False) -> dg.ExecuteInProcessResult | None:
        """One tick of the real sensor and, if it asks for it, the run."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"cappuccino": self.cappuccino}
        )
        tick = follow_aliases(context)
        assert isinstance(tick, dg.SensorResult)
        self.cursor = tick.cursor
        if not tick.run_requests:
            return None
        return self.trade(report=report)

    def trade(self, *, report: bool = True) -> dg.ExecuteInProcessResult:
        job = definitions_for(self.cappuccino).resolve_job_def("trade")
        selection = None if report else [DEPLOYMENT]
        return job.execute_in_process(instance=self.instance, asset_selection=selection, raise_on_error=False)

    @property
    def deployed(self) -> tuple[str, str] | None:
        made = read_deployment(self.cappuccino.configuration.deployment_record)
        return (made.version, made.alias) if made else None

    @property
    def paper(self) -> PaperReport:
        return read_paper(self.cappuccino.current.folder("paper_trading_report"))

    @property
    def trader_line(self) -> str:
        return next(line for line in doctor(self.cappuccino.configuration) if line.startswith("trader"))


def open_desk(root: Path, instance: dg.DagsterInstance, *, last_month: str = "2024-02") -> Desk:
    """Two or more months of bars, a frozen data set and versions 1 and 2 in the registry, below `root`."""
    cappuccino = Cappuccino(Configuration(state=root / "state", universe=UNIVERSE, workers=1), plan=PLAN)
    desk = Desk(cappuccino, instance)
    demo.run_job(cappuccino, instance, "update_bars", tags=months_tags(first="2024-01", last=last_month))
    job = definitions_for(cappuccino).resolve_job_def("retrain")
    assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("training_dataset")]).success
    for seed in (1, 2):
        assert desk.register(root / f"agent-{seed}", seed=seed) == str(seed)
    return desk
