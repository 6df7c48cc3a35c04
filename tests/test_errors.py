from palate.errors import DataError, PalateError, Problem, UnknownNameError, suggest


def test_suggest_prefers_the_nearest_and_lists_otherwise():
    assert suggest("qnn_alfa", ["qnn-alpha", "fm"]) == 'Did you mean "qnn-alpha"?'
    assert suggest("zzz", ["b", "a"]) == 'Known: "a", "b".'
    assert "and 8 more" in suggest("zzz", [f"name{n:02d}x" for n in range(20)])


def test_codes_are_stable_and_distinct():
    def family(error):
        yield error
        for child in error.__subclasses__():
            yield from family(child)

    ours = [error for error in family(PalateError) if error.__module__.startswith("palate.")]
    codes = [error.code for error in ours if "code" in vars(error)]
    assert len(codes) == len(set(codes))
    assert UnknownNameError.code == "P101"
    assert DataError.code == "P200"


def test_a_data_error_tells_every_problem_with_its_place():
    problems = [Problem("empty user", "Fill it.", file="log.csv", row=n, column="user", value="") for n in range(2, 40)]
    text = str(DataError("log.csv has problems.", problems=problems))
    assert "log.csv, line 2, column \"user\": empty user (value '')" in text
    assert "and 18 more problems" in text
    assert len(DataError("x", problems=problems).problems) == 38
