import numpy as np

from mass3d.transfer.frozen.colours import Colouring


def test_the_first_colour_follows_what_differs_most() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(4000, 6)) * [1, 9, 2, 1, 4, 1]
    colouring = Colouring.fit([cells[:3000], cells[3000:]])
    assert np.abs(colouring.axes).argmax(axis=0).tolist() == [1, 4, 2]
    assert (colouring.axes[[1, 4, 2], [0, 1, 2]] > 0).all()
    np.testing.assert_allclose(colouring.axes.T @ colouring.axes, np.eye(3), atol=1e-9)


def test_colours_are_monotone_and_what_is_not_shown_is_black() -> None:
    cells = np.zeros((300, 4))
    cells[:, 2] = np.linspace(-1, 1, 300)
    colouring = Colouring.fit([cells])
    plane = np.zeros((4, 1, 5), np.float32)
    plane[2, 0] = [-5, -0.5, 0, 0.5, 5]
    shown = np.array([[True, True, True, True, False]])
    red = colouring.paint(plane, shown)[0, :, 0].tolist()
    assert red[0] == 30 < red[1] < red[2] < red[3]
    assert colouring.paint(plane, shown)[0, 4].tolist() == [0, 0, 0]
