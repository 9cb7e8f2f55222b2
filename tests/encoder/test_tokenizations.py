"""What every tokenization promises: masked entries never get in, cheaper ways to run give the same numbers."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from cappuccino_ml.encoder import EncoderSettings, FTTransformerEncoder
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel, masked_losses

from .conftest import FEATURES, TICKERS, TINY, make_encoder

LOOKBACK = TINY.lookback
SHAPE = (6, LOOKBACK, TICKERS, FEATURES)
KINDS = {
    "series": {"tokenization": "series"},
    "ticker": {"tokenization": "ticker"},
    "scalar": {"tokenization": "scalar"},
    "joint": {"tokenization": "scalar", "fusion": "joint"},
}
TOKENS = {"series": TICKERS * FEATURES, "ticker": TICKERS, "scalar": 60, "joint": 60 + 1 + TICKERS}


def settings_of(kind: str, **changes: object) -> EncoderSettings:
    return EncoderSettings(**{**TINY.model_dump(), **KINDS[kind], **changes})


def entries_of(kind: str) -> Tensor | None:
    return torch.rand(6, 1 + TICKERS, generator=torch.Generator().manual_seed(3)) if kind == "joint" else None


def gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.fixture
def batch() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask() -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(2)) < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_as_many_tokens_as_promised(kind: str, batch: Tensor):
    encoder = make_encoder(settings_of(kind))
    assert encoder.tokens(batch, entries=entries_of(kind)).shape == (6, 1 + TOKENS[kind], TINY.d_token)
    assert encoder(batch, entries_of(kind)).shape == (6, TINY.encoding_dim)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_equal_a_plain_loop(kind: str, batch: Tensor, mask: Tensor):
    tokenizer = make_encoder(settings_of(kind)).tokenizer
    entries = entries_of(kind)
    tokens = tokenizer(batch, mask, entries)
    lag, ticker, feature = torch.meshgrid(*map(torch.arange, SHAPE[1:]), indexing="ij")
    place = {  # which token an entry belongs to, and which of its numbers it is
        "series": (ticker * FEATURES + feature, lag),
        "ticker": (ticker, feature * LOOKBACK + lag),
        "scalar": ((ticker * FEATURES + feature) * LOOKBACK + lag, torch.zeros_like(lag)),
    }[tokenizer.tokenization]
    for b in range(2):
        expected = tokenizer.bias.detach().clone()
        for index in torch.cartesian_prod(*map(torch.arange, SHAPE[1:])).tolist():
            token, number = (int(part[tuple(index)]) for part in place)
            hidden = bool(mask[(b, *index)])
            vector = tokenizer.mask_token if hidden else batch[(b, *index)] * tokenizer.weight
            expected[token] += vector[token, number].detach()
        torch.testing.assert_close(tokens[b, 0], tokenizer.cls)
        torch.testing.assert_close(tokens[b, 1 : 1 + tokenizer.market_tokens], expected, atol=1e-5, rtol=1e-5)
        if entries is not None:
            own = entries[b, :, None] * tokenizer.entry_weight + tokenizer.entry_bias
            torch.testing.assert_close(tokens[b, 1 + tokenizer.market_tokens :], own)


@pytest.mark.parametrize("kind", KINDS)
def test_grouping_into_tokens_loses_nothing(kind: str, batch: Tensor):
    tokenizer = make_encoder(settings_of(kind)).tokenizer
    assert torch.equal(tokenizer.ungroup(tokenizer.group(batch)), batch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("poison", [1e9, float("nan"), float("inf")])
def test_hidden_entries_reach_neither_estimates_nor_gradients(kind: str, batch: Tensor, mask: Tensor, poison: float):
    torch.manual_seed(0)
    model = MaskedFeatureModel(settings_of(kind), tickers=TICKERS, features=FEATURES).eval()
    poisoned = torch.where(mask, poison, batch)
    for seen, expected in zip(
        model(poisoned, mask, entries_of(kind)), model(batch, mask, entries_of(kind)), strict=True
    ):
        assert torch.equal(seen, expected)
    batch.requires_grad_()
    sum(estimate.square().sum() for estimate in model(batch, mask, entries_of(kind))).backward()
    assert batch.grad is not None
    assert (batch.grad[mask] == 0).all()
    assert (batch.grad[~mask] != 0).float().mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_both_losses_together_train_every_weight(kind: str, batch: Tensor, mask: Tensor):
    torch.manual_seed(0)
    model = MaskedFeatureModel(settings_of(kind, dropout=0.0), tickers=TICKERS, features=FEATURES)
    sum(masked_losses(model, batch, mask, entries=entries_of(kind))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).any()), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_blocks", [1, 2, 3])
def test_computing_the_cls_row_alone_is_exact(kind: str, batch: Tensor, n_blocks: int):
    encoder = make_encoder(settings_of(kind, n_blocks=n_blocks))
    direction = torch.randn(6, TINY.encoding_dim, generator=torch.Generator().manual_seed(4))
    entries = entries_of(kind)
    found = []
    for rows in (None, 1):
        encoder.zero_grad()
        encoding = encoder.encode_cls(encoder.tokens(batch, entries=entries, rows=rows)[:, 0])
        (encoding * direction).sum().backward()
        found.append({"encoding": encoding.detach(), **gradients(encoder)})
    torch.testing.assert_close(encoder(batch, entries), found[1]["encoding"])
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_changes_no_number(kind: str, batch: Tensor, mask: Tensor):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        settings = settings_of(kind, checkpointing=checkpointing, dropout=0.2)
        model = MaskedFeatureModel(settings, tickers=TICKERS, features=FEATURES)
        losses = masked_losses(model, batch, mask, entries=entries_of(kind))
        sum(losses).backward()
        found.append({"losses": torch.stack(losses).detach(), **gradients(model)})
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), name


def test_checkpointing_keeps_less_for_the_backward_pass():
    batch = torch.randn(64, LOOKBACK, TICKERS, FEATURES)
    kept = {}
    for checkpointing in (False, True):
        encoder = make_encoder(settings_of("scalar", n_blocks=3, checkpointing=checkpointing))
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.nbytes) or x, lambda x: x):
            encoder(batch)
        kept[checkpointing] = sum(sizes)
    assert kept[True] < kept[False] / 3


def test_memory_grows_with_the_tokens_and_not_with_their_square():
    def largest_and_total(lookback: int) -> tuple[int, int]:
        encoder = make_encoder(settings_of("scalar", lookback=lookback))
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.numel()) or x, lambda x: x):
            encoder(torch.randn(2, lookback, TICKERS, FEATURES))
        return max(sizes), sum(sizes)

    (_, short), (largest, long) = largest_and_total(10), largest_and_total(80)
    assert long / short < 8 * 1.1
    assert largest < (12 * 80) ** 2  # nothing as large as one attention matrix is kept


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_stays_close_and_gives_float32(kind: str, batch: Tensor):
    exact = make_encoder(settings_of(kind))(batch, entries_of(kind))
    rough = make_encoder(settings_of(kind, bf16=True))(batch, entries_of(kind))
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).norm() < 0.03 * exact.norm()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["series", "ticker"])
def test_compiled_blocks_give_the_same_encodings_and_weights_under_the_same_names(kind: str, batch: Tensor):
    plain, compiled = make_encoder(settings_of(kind)), make_encoder(settings_of(kind, compile=True))
    compiled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(compiled(batch), plain(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_the_same_encodings(kind: str, batch: Tensor):
    encoder, entries = make_encoder(settings_of(kind)), entries_of(kind)
    expected = encoder(batch, entries)
    found = encoder.cuda()(batch.cuda(), None if entries is None else entries.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)


def test_entries_that_are_missing_or_unwanted_are_refused(batch: Tensor):
    with pytest.raises(ValueError, match=r"got no entries, but takes entries of shape \(6, 4\)"):
        make_encoder(settings_of("joint"))(batch)
    with pytest.raises(ValueError, match=r"takes none \(late fusion\)"):
        make_encoder(settings_of("scalar"))(batch, entries_of("joint"))


def test_joint_fusion_lets_the_encoding_depend_on_the_book(batch: Tensor):
    encoder, entries = make_encoder(settings_of("joint")), entries_of("joint")
    assert entries is not None
    assert not torch.allclose(encoder(batch, entries), encoder(batch, entries.flip(0)), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"fusion": "joint"}, "joint fusion needs scalar tokens"), ({"d_token": 30}, "not a multiple of n_heads")],
)
def test_settings_that_do_not_fit_together_are_refused(changes: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        EncoderSettings(**changes)


def test_presets_can_be_cut_in_every_way():
    for kind in KINDS:
        encoder = FTTransformerEncoder(settings_of(kind), tickers=TICKERS, features=FEATURES)
        assert encoder.tokenizer.market_tokens * encoder.tokenizer.width == LOOKBACK * TICKERS * FEATURES
