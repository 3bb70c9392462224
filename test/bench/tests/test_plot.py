"""Charts."""

import unittest
from xml.etree import ElementTree

from lab.plot import HEIGHT, WIDTH, Chart, Colour, Line, spread_out

SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(chart.to_svg())


def points(svg: ElementTree.Element) -> list[list[tuple[float, float]]]:
    lines = [line.attrib["points"].split() for line in svg.iter(f"{SVG}polyline")]
    return [[(float(point.split(",")[0]), float(point.split(",")[1])) for point in line] for line in lines]


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]


class Charts(unittest.TestCase):
    def chart(self, *lines: list[tuple[float, float]], is_logarithmic: bool = False) -> Chart:
        named = [Line(f"line <{number}>", Colour.BLUE, line) for number, line in enumerate(lines)]
        return Chart("a & b", "users", "MB", named, is_logarithmic)

    def test_it_is_xml_with_its_words(self) -> None:
        said = texts(drawn(self.chart([(0, 0), (10, 5)])))
        for word in ("a & b", "users", "MB", "line <0>"):
            self.assertIn(word, said)

    def test_linear_axes_begin_at_zero_and_end_at_a_round_number(self) -> None:
        svg = drawn(self.chart([(0, 0), (2000, 47)]))
        said = texts(svg)
        for tick in ("0", "500", "1,000", "2,000", "10", "50"):
            self.assertIn(tick, said)
        [[start, end]] = points(svg)
        self.assertLess(start[0], end[0])
        # More is further up, and 47 of 50 nearly at the top.
        self.assertGreater(start[1], end[1])

    def test_equal_factors_are_equal_ways_on_logarithmic_axes(self) -> None:
        [line] = points(drawn(self.chart([(100, 1), (1000, 2), (10000, 4)], is_logarithmic=True)))
        self.assertAlmostEqual(line[1][0] - line[0][0], line[2][0] - line[1][0], delta=0.2)
        self.assertAlmostEqual(line[0][1] - line[1][1], line[1][1] - line[2][1], delta=0.2)

    def test_everything_is_inside_the_picture(self) -> None:
        for is_logarithmic in (False, True):
            chart = self.chart([(1, 0.001), (7, 3)], [(2, 99_999)], is_logarithmic=is_logarithmic)
            for line in points(drawn(chart)):
                for across, down in line:
                    self.assertTrue(0 <= across <= WIDTH and 0 <= down <= HEIGHT, (across, down))

    def test_points_are_joined_from_left_to_right(self) -> None:
        [line] = points(drawn(self.chart([(3, 1), (1, 1), (2, 1)])))
        self.assertEqual(line, sorted(line))

    def test_a_line_may_have_no_points_but_not_all(self) -> None:
        self.assertEqual(len(points(drawn(self.chart([(1, 1)], [])))), 2)
        with self.assertRaises(ValueError):
            self.chart([]).to_svg()

    def test_labels_keep_apart_and_their_order(self) -> None:
        self.assertEqual(spread_out([100, 101, 10], 20, 110), [81, 101, 10])
        self.assertEqual(spread_out([200], 20, 110), [110])


if __name__ == "__main__":
    unittest.main()
