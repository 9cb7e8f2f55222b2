"""Training on a list of segments: no episode crosses a splice, every row that holds a whole episode can begin one."""

from typing import Any

import numpy as np
import pytest
import torch

from cappuccino_ml.environment import Costs, Guards, Layout, Reward, SegmentedEnv, VectorEnv

LAYOUT = Layout(timestamps=4, environments=2, steps=4, episode_bars=8)
ROWS, TICKERS = 120, 3


def made(kind: type[VectorEnv], **where: Any) -> Any:
    random = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, (ROWS, TICKERS)), axis=0))
    return kind(
        open_=close,
        close=close,
        tradable=np.ones((ROWS, TICKERS), dtype=bool),
        layout=LAYOUT,
        guards=Guards(),
        costs=Costs(),
        reward=Reward(),
        seed=3,
        **where,
    )


def visited(env: VectorEnv, rollouts: int) -> list[np.ndarray]:
    """Rows of each group's episodes: two rollouts an episode."""
    seen = []
    for _ in range(rollouts):
        seen.append(env.begin_rollout().numpy())
        for _ in range(LAYOUT.steps):
            env.step(torch.zeros(LAYOUT.books, TICKERS, dtype=torch.float64))
    return seen


def test_defect_01_no_episode_leaves_its_segment_and_all_possible_starts_occur() -> None:
    segments = ((10, 30), (50, 58), (60, 65), (80, 119))
    env = made(SegmentedEnv, segments=segments)
    assert env.segments == ((10, 30), (50, 58), (80, 119))  # (60, 65) holds no episode
    for rows in visited(env, 200):
        for group in rows.T:
            assert any(first <= group[0] and group[-1] <= last for first, last in env.segments)
    draw = np.random.default_rng(0)
    starts = {env._start_row(draw) for _ in range(1000)}
    assert starts == {*range(10, 23), 50, *range(80, 112)}


def test_one_segment_is_the_vector_environment() -> None:
    one, plain = made(SegmentedEnv, segments=[(20, 100)]), made(VectorEnv, first=20, last=100)
    assert one.market_volatility() == pytest.approx(plain.market_volatility(), rel=1e-12)
    for ours, theirs in zip(visited(one, 6), visited(plain, 6), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_rows_between_segments_do_not_shape_the_scale_of_rewards() -> None:
    env = made(SegmentedEnv, segments=((10, 40), (70, 110)))
    log_return = torch.log((env._close[1:] / env._close[:-1]).mean(-1))
    expected = torch.cat([log_return[10:40], log_return[70:110]]).std()
    assert env.market_volatility() == pytest.approx(float(expected))


def test_two_lists_of_segments_are_two_environments() -> None:
    one, other = made(SegmentedEnv, segments=((10, 40), (70, 110))), made(SegmentedEnv, segments=((10, 50), (70, 110)))
    assert one.identity() != other.identity()


@pytest.mark.parametrize("segments", [(), ((30, 20),), ((10, 40), (40, 60)), ((50, 70), (10, 30))])
def test_segments_that_touch_or_go_back_are_refused(segments: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="ascending, apart and not empty"):
        made(SegmentedEnv, segments=segments)


def test_segments_shorter_than_an_episode_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="longest segment has 7 rows, fewer than one episode of 8 bars; shorten"):
        made(SegmentedEnv, segments=((10, 15), (20, 27)))
