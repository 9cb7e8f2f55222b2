"""Actor and critic: the market is encoded once per moment (late fusion), or once per book beside it (joint)."""

import torch
from torch import Tensor, nn

from cappuccino_ml.encoder import FTTransformerEncoder, windows
from cappuccino_ml.policy.settings import AgentSettings


class FlatEncoder(nn.Module):
    """The mlp arm's market side: one linear layer over the flattened window, the first layer of a plain MLP."""

    def __init__(self, *, lookback: int, tickers: int, features: int, encoding_dim: int) -> None:
        super().__init__()
        self.encoding_dim = encoding_dim
        self.linear = nn.Linear(lookback * tickers * features, encoding_dim)

    def forward(self, window: Tensor) -> Tensor:
        """[U, L, N, F] -> [U, encoding_dim]."""
        return self.linear(window.flatten(1))  # type: ignore[no-any-return]


class Head(nn.Module):
    """Two hidden layers over (encoding, portfolio). The first one's market part is computed once per moment."""

    def __init__(self, *, encoding_dim: int, tickers: int, net_dimension: int, outputs: int, gain: float) -> None:
        super().__init__()
        self.project = (
            nn.Identity() if encoding_dim == net_dimension else nn.Linear(encoding_dim, net_dimension, bias=False)
        )
        self.portfolio = nn.Linear(1 + tickers, net_dimension)
        self.hidden = nn.Linear(net_dimension, net_dimension)
        self.out = nn.Linear(net_dimension, outputs)
        nn.init.orthogonal_(self.hidden.weight, 2**0.5)
        nn.init.orthogonal_(self.out.weight, gain)
        nn.init.zeros_(self.out.bias)

    def forward(self, market: Tensor, entries: Tensor) -> Tensor:
        """Fuse projected encodings [U, net] with entries [U, E, 1 + N] -> [U, E, outputs]."""
        x = torch.relu(market.unsqueeze(1) + self.portfolio(entries))
        return self.out(torch.relu(self.hidden(x)))  # type: ignore[no-any-return]


class JointHead(nn.Module):
    """Joint fusion: the book's entries are tokens beside the market's, so every book needs an encoding of its own.

    The "encoding" it is given is the flattened window. The encoder belongs to `ActorCritic` and is only borrowed here.
    """

    def __init__(self, encoder: FTTransformerEncoder, *, net_dimension: int, outputs: int, gain: float) -> None:
        super().__init__()
        self._borrowed = (encoder,)  # in a tuple, or its weights would be listed, and stored, twice
        self.project = nn.Identity()
        self.widen = nn.Linear(encoder.encoding_dim, net_dimension)
        self.hidden = nn.Linear(net_dimension, net_dimension)
        self.out = nn.Linear(net_dimension, outputs)
        nn.init.orthogonal_(self.hidden.weight, 2**0.5)
        nn.init.orthogonal_(self.out.weight, gain)
        nn.init.zeros_(self.out.bias)

    def forward(self, market: Tensor, entries: Tensor) -> Tensor:
        """Flattened windows [U, L * N * F] with entries [U, E, 1 + N] -> [U, E, outputs]."""
        (encoder,) = self._borrowed
        tokenizer, books = encoder.tokenizer, entries.shape[1]
        window = market.view(-1, tokenizer.lookback, tokenizer.tickers, tokenizer.features)
        encoding = encoder(window.repeat_interleave(books, 0), entries.flatten(0, 1))
        x = torch.relu(self.hidden(torch.relu(self.widen(encoding))))
        return self.out(x).unflatten(0, (-1, books))  # type: ignore[no-any-return]


class ActorCritic(nn.Module):
    """Gaussian actor and critic for one arm. U moments, E books at each, N tickers."""

    def __init__(self, settings: AgentSettings, *, tickers: int, features: int) -> None:
        super().__init__()
        self.settings = settings
        shape = {"tickers": tickers, "features": features}

        def make_encoder() -> FTTransformerEncoder | FlatEncoder:
            if settings.encoder is not None:
                return FTTransformerEncoder(settings.encoder, **shape)
            return FlatEncoder(lookback=settings.lookback, encoding_dim=settings.net_dimension, **shape)

        self.actor_encoder = make_encoder()
        self.critic_encoder = self.actor_encoder if settings.share_encoder else make_encoder()
        self._joint = settings.encoder is not None and settings.encoder.fusion == "joint"

        def make_head(encoder: FTTransformerEncoder | FlatEncoder, *, gain: float) -> Head | JointHead:
            width = {"outputs": tickers, "net_dimension": settings.net_dimension}
            if self._joint and isinstance(encoder, FTTransformerEncoder):
                return JointHead(encoder, gain=gain, **width)
            return Head(encoding_dim=encoder.encoding_dim, tickers=tickers, gain=gain, **width)

        # A gain of 0.01 starts every policy at "hold": its mean action is near zero.
        self.actor = make_head(self.actor_encoder, gain=0.01)
        self.critic = make_head(self.critic_encoder, gain=1.0)
        self.log_std = nn.Parameter(torch.full((tickers,), settings.initial_log_std))
        if settings.freeze_encoder:
            for parameter in self.encoder_parameters():
                parameter.requires_grad_(False)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The market side's parameters, each once."""
        seen = dict.fromkeys([*self.actor_encoder.parameters(), *self.critic_encoder.parameters()])
        return list(seen)

    def encode(self, market: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Encodings of `rows` [U] of `market` [T, N, F] for actor and critic: 2 x [U, encoding_dim].

        In joint fusion 2 x the flattened windows [U, L * N * F], which the heads encode together with each book.
        """
        window = windows(market, rows, self.settings.lookback)
        if self._joint:
            return window.flatten(1), window.flatten(1)
        actor = self.actor_encoder(window)
        return actor, actor if self.settings.share_encoder else self.critic_encoder(window)

    def mean_action(self, encoding: Tensor, entries: Tensor) -> Tensor:
        """Mean of the policy: [U, encoding_dim], [U, E, 1 + N] -> [U, E, N]."""
        return self.actor(self.actor.project(encoding), entries)  # type: ignore[no-any-return]

    def value(self, encoding: Tensor, entries: Tensor) -> Tensor:
        """What each ticker will add: [U, encoding_dim], [U, E, 1 + N] -> [U, E, N]; their sum is the state's value."""
        return self.critic(self.critic.project(encoding), entries)  # type: ignore[no-any-return]

    @torch.no_grad()
    def act(self, window: Tensor, entries: Tensor) -> Tensor:
        """The deterministic action for one scaled window [L, N, F] and entries [1 + N] -> [N] in [-1, 1], float64."""
        encoding, _ = self.encode(window, torch.tensor([len(window) - 1]))
        return self.mean_action(encoding, entries.view(1, 1, -1))[0, 0].clamp(-1, 1).double()


def build_agent(settings: AgentSettings, *, tickers: int, features: int, seed: int) -> ActorCritic:
    """An untrained agent whose weights depend on `seed` only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ActorCritic(settings, tickers=tickers, features=features)
