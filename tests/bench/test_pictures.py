import xml.etree.ElementTree as ElementTree

import pytest

from palate.bench.pictures import (
    Bar,
    Curve,
    Panel,
    interval_picture,
    long_tail_picture,
    panels_picture,
    reliability_picture,
)

SVG = "{http://www.w3.org/2000/svg}"


def test_intervals_stand_in_order_and_the_chosen_one_is_marked():
    bars = [Bar("fm", 0.71, 0.70, 0.72), Bar("qnn & co", 0.74, 0.73, 0.75, chosen=True)]
    picture = ElementTree.fromstring(interval_picture(bars, title="AUC"))
    dots = picture.findall(f"{SVG}circle")
    assert len(dots) == 2
    assert float(dots[0].get("cx")) < float(dots[1].get("cx"))
    assert dots[1].get("class") == "dot chosen"
    whisker = picture.findall(f"{SVG}line[@class='whisker chosen']")[0]
    assert float(whisker.get("x1")) < float(dots[1].get("cx")) < float(whisker.get("x2"))
    assert "qnn & co" in [text.text for text in picture.findall(f"{SVG}text")]


def test_equal_values_still_make_a_picture():
    ElementTree.fromstring(interval_picture([Bar("a", 0.5, 0.5, 0.5)], title="AUC"))
    assert interval_picture([], title="AUC") == ""


def test_a_perfect_curve_lies_on_the_diagonal():
    steps = [0.1, 0.5, 0.9]
    picture = ElementTree.fromstring(
        reliability_picture([Curve("raw", steps, steps, steps, steps, [1, 1, 1])], title="r")
    )
    for x, y in (point.split(",") for point in picture.find(f"{SVG}polyline").get("points").split()):
        assert (float(x) - 52) / 380 == pytest.approx(1 - (float(y) - 14) / 380)


def test_the_tail_rises_to_one():
    picture = ElementTree.fromstring(long_tail_picture([5, 1, 3, 1], title="tail"))
    points = [tuple(map(float, p.split(","))) for p in picture.find(f"{SVG}polyline").get("points").split()]
    heights = [y for _, y in points]
    assert heights == sorted(heights, reverse=True)
    assert 1 - (points[1][1] - 12) / 170 == pytest.approx(0.5)  # the first of four items holds 5 of 10
    assert long_tail_picture([], title="tail") == ""


def test_panels_share_one_scale_and_shorten_long_titles():
    low = Curve("raw", [0.1, 0.2], [0.1, 0.2], [0.05, 0.1], [0.2, 0.4], [1, 1])
    curve = Curve("after", [0.1], [0.1], [0.0], [0.3], [1])
    panels = [Panel("a name that is much too long to fit (1,234 rows)", [low]), Panel("b", [low, curve])]
    picture = ElementTree.fromstring(panels_picture(panels, title="inside & out"))
    texts = [text.text for text in picture.findall(f"{SVG}text")]
    assert "b" in texts
    title = next(text for text in texts if text.endswith("\u2026 (1,234 rows)"))
    assert len(title) <= 26
    lines = [line.get("points") for line in picture.findall(f"{SVG}polyline")]
    first, second = ([tuple(map(float, point.split(","))) for point in line.split()] for line in lines[:2])
    assert [y for _, y in first] == [y for _, y in second]
    assert {x2 - x1 for (x1, _), (x2, _) in zip(first, second, strict=True)} == {184.0}
    assert "0.4" in texts  # the highest end of a whisker is the end of the scale
    assert "1" not in texts
    assert panels_picture([], title="none") == ""
