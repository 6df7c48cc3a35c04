from palate.bench.report import Figure, Report, Section, Table


def page():
    table = Table(["model", "AUC"], [["fm", "0.7"], ["<qnn>", "0.8"]], caption="test part", chosen=1)
    figure = Figure("<svg xmlns='http://www.w3.org/2000/svg'></svg>", "what to see")
    section = Section("Ranking", ["One."], [table], [figure], ["palate serve runs/a"], ["a note"])
    return Report("tea", "Ship qnn.", [section], ["seed 0"])


def test_the_page_holds_everything_and_needs_nothing_from_outside(tmp_path):
    html = page().write(tmp_path / "report.html").read_text()
    for words in ("Ship qnn.", "Ranking", "what to see", "palate serve runs/a", "a note", "seed 0", "test part"):
        assert words in html
    for outside in ("<script", "http://", "https://", "<link", "@import"):
        assert outside not in html.replace("xmlns='http://www.w3.org/2000/svg'", "")


def test_text_is_escaped_and_the_chosen_row_marked():
    html = page().to_html()
    assert "&lt;qnn&gt;" in html
    assert html.count('<tr class="chosen">') == 1
