import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import write_all

from cldyn import Adam, Basis, InfoNce, Joint, Mlp, Population, Subset, noun, words
from cldyn.experiment import NAMES
from cldyn.fields import number
from cldyn.nouns import takes_of
from cldyn.words import asked, listing, value_of, word_of

pytestmark = pytest.mark.quick

KINDS = words.kinds()
FIELDS = [
    pytest.param(title, name, field, id=f"{title}.{name}")
    for title, kind in KINDS
    for name, field in words.fields_of(kind).items()
]


def values(field):
    """Everything that a field takes."""
    takes = takes_of(field)
    reals = st.floats(
        takes.low,
        takes.high,
        exclude_min=takes.above,
        exclude_max=takes.below,
        allow_infinity=False,
    )
    kind = {
        "number": reals,
        "numbers": st.lists(reals).map(tuple),
        "sizes": st.lists(st.integers(1, 2**31 - 1)).map(tuple),
        "flag": st.booleans(),
        "choice": st.sampled_from(list(takes.choices)),
        "text": st.text(),
        "noun": st.sampled_from([one() for one in NAMES.get(field.name, {}).values()] or [None]),
    }.get(takes.kind, st.integers(takes.low if takes.kind in ("whole", "size") else 0, 2**31 - 1))
    return kind | st.sampled_from([None, float("inf")]) if takes.optional else kind


@pytest.mark.parametrize(("title", "name", "field"), FIELDS)
@given(data=st.data())
def test_every_value_of_every_field_has_a_word_that_says_it(title, name, field, data):
    value = data.draw(values(field))
    assert value_of(field, word_of(value)) == value
    if not isinstance(value, tuple) and takes_of(field).kind != "noun":
        assert value_of(field, value) == value  # as a TOML file has it


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize(("title", "name", "field"), FIELDS)
def test_the_default_said_is_the_default(title, name, field, folder):
    home = [title] if "=" in title else []
    role, *_ = title.partition("=")
    if role in ("by_class", "by_view"):  # of a loss of two, of whose numbers each has one place
        home = ["loss=both", "by_class=spectral", "by_view=spectral"]
        home = [word for word in home if not word.startswith(role)] + [title]
    home += ["problem=digits"] if title == "augmentation" else []
    if "folder" in words.fields_of(dict(KINDS)[title]):
        if name == "folder":
            return refused("folder", *home, f"folder={field.default}")
        home.append(f"folder={folder}")
    assert asked([*home, f"{name}={word_of(field.default)}"]) == asked(home)


def test_every_noun_is_listed_within_the_width():
    for width in (80, 100):
        lines = listing(width).splitlines()
        assert max(map(len, lines)) <= width
        for role, known in NAMES.items():
            for word in known:
                assert any(line.startswith(f"{role}={word}: ") for line in lines)
    for _, kind in KINDS:
        for name, field in words.fields_of(kind).items():
            assert any(line.startswith(f"  {name}={word_of(field.default)}") for line in lines)


def test_words_say_a_whole_experiment():
    said = (
        "encoder=mlp loss=info_nce learning_rate=0.1 positives=joint beta=0.3 batch=iid "
        "batch_size=16 optimizer=adam problem=population noise=basis noise_length=0.5 "
        "irrelevant_strength=2,1.5 d=200 precision=float64 clip_norm=inf steps=30 seeds=3"
    )
    meant = asked(said.split())
    problem, training = meant.experiment.problem, meant.experiment.training
    assert (meant.steps, meant.seeds, meant.experiment.precision) == (30, 3, "float64")
    assert isinstance(problem, Population) and problem.model.noise == Basis(0.5)
    assert problem.model.d == 200 and problem.model.irrelevant_strength == (2.0, 1.5)
    assert training.encoder == Mlp() and training.loss == InfoNce() and training.batch.replaces
    assert training.positives == Joint(0.3)
    assert training.optimizer == Adam(0.1, clip_norm=float("inf"))
    assert asked(["bias=FALSE"]).experiment.training.encoder.bias is False


def test_order_says_nothing():
    said = "decay_steps=50", "schedule=inverse_time", "optimizer=adam", "d=20", "problem=population"
    meant = [asked(order) for order in itertools.permutations(said)]
    assert all(one == meant[0] for one in meant)
    assert meant[0].experiment.problem.model.d == 20
    assert meant[0].experiment.training.optimizer.schedule.decay_steps == 50


def test_a_file_says_the_same_and_words_override_it(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'encoder = "mlp"\nbatch = "subset"\nbatch_size = 8\nlearning_rate = 0.1\nn = 40\n'
        'irrelevant_strength = [2.0, 1]\nbalanced = false\nclip_norm = "none"\nsteps = 30\n'
    )
    said = ["encoder=mlp", "batch=subset", "batch_size=8", "learning_rate=0.1", "n=40"]
    said += ["irrelevant_strength=2,1", "balanced=false", "steps=30"]
    assert asked([str(file)]) == asked(said)
    meant = asked(["n=20", str(file), "steps=5"])
    assert meant.experiment.problem.n == 20 and meant.steps == 5
    assert meant.experiment.training.batch == Subset(8)


def refused(name, *said, shown=()):
    """The words are refused with one line that starts with the name."""
    with pytest.raises(ValueError, match="allowed is") as caught:
        asked(said)
    message = str(caught.value)
    assert message.startswith(f"{name}: ") and "\n" not in message, message
    for one in shown:
        assert one in message, message


@pytest.mark.parametrize(
    ("name", "said", "shown"),
    [
        ("name", "no_such_field=1", ("'no_such_field'", "learning_rate", "optimizer", "steps")),
        ("name", "=1", ("''",)),
        *[("name", f"{name}=1", ()) for name in ("model", "training", "experiment", "rows", "x")],
        ("encoder", "encoder=transformer", ("'transformer'", "mlp")),
        ("encoder", "encoder=os.system", ("linear",)),
        ("beta", "beta=0.3", ("positives=joint",)),
        ("hidden", "hidden=8 encoder=linear", ("encoder=mlp",)),
        ("schedule", "schedule=constant optimizer=flow", ("optimizer=adam",)),
        ("decay_steps", "decay_steps=8", ("schedule=inverse_time",)),
        ("n", "n=40 problem=population", ("problem=stored",)),
        ("n", "n=40 n=20", ("'40'", "'20'")),
        *[
            ("n", f"n={value}", ())
            for value in ("", "a", "0", "-4", "6", "8.0", "true", "2,4", "inf")
        ],
        *[("embed_dim", f"embed_dim={value}", ()) for value in ("0", "1.5", "9" * 5000)],
        *[
            ("learning_rate", f"learning_rate={value}", ())
            for value in ("", "0", "nan", "inf", "x")
        ],
        *[("clip_norm", f"clip_norm={value}", ("None",)) for value in ("-1", "0", "nil")],
        *[("bias", f"bias={value}", ("True or False",)) for value in ("1", "yes", "")],
        ("precision", "precision=float16", ("float64",)),
        ("irrelevant_strength", "irrelevant_strength=2,,1", ("tuple of numbers",)),
        ("irrelevant_keep", "irrelevant_strength=2 irrelevant_keep=0.5,0.5", ()),
        ("batch_size", "batch=epochs batch_size=300", ("200",)),
        ("steps", "steps=0", ("whole number",)),
        ("seeds", "seeds=many", ("whole number",)),
        ("file", "adam", ("name=value",)),
        ("file", "one.toml two.toml", ("one TOML file",)),
    ],
)
def test_words_that_make_no_sense_get_one_line(name, said, shown):
    refused(name, *said.split(" "), shown=shown)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("file", "encoder = mlp"),
        ("file", "n = 4\nn = 8"),
        ("file", "\0"),
        ("name", "[training]\nseed = 1"),
        ("name", '"odd\\nname" = 1'),
        ("encoder", "encoder = 3"),
        ("encoder", 'encoder = ["mlp"]'),
        ("n", "n = 4.0"),
        ("n", "n = 2020-01-01"),
        ("n", "n = {a = 1}"),
        ("n", "n = true"),
        ("n", f"n = 1{'0' * 40}"),
        ("bias", "bias = 1"),
        ("learning_rate", "learning_rate = [0.1]"),
        ("irrelevant_strength", "irrelevant_strength = [[1.0]]"),
        ("irrelevant_strength", 'irrelevant_strength = ["1"]'),
        ("irrelevant_strength", "irrelevant_strength = 2.0"),
    ],
)
def test_a_file_that_makes_no_sense_gets_one_line(tmp_path, name, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    refused(name, str(file))


def test_a_file_that_cannot_be_read_gets_one_line(tmp_path):
    refused("file", str(tmp_path / "none.toml"), shown=("No such file",))
    refused("file", str(tmp_path), shown=("directory",))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    refused("file", str(tmp_path / "bytes.toml"))


def test_a_name_of_two_places_is_refused(monkeypatch):
    @noun
    class Twice:
        momentum: float = number(0.5, "also of an optimizer")

    monkeypatch.setitem(NAMES["loss"], "twice", Twice)
    refused(
        "name",
        "loss=twice",
        "optimizer=momentum",
        "momentum=0.8",
        shown=("training.loss", "training.optimizer"),
    )
