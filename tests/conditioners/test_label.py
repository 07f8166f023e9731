import pytest
import torch

from multigen.conditioners.label import Label, Nothing
from multigen.core.conditioning import CondSpec
from multigen.errors import MultigenError, RecipeError
from multigen.registry import Part, build

FRUIT = ("apple", "Red Pear", "plum")


def test_each_class_and_null_have_their_own_learned_row():
    label = Label(classes=FRUIT, width=8)
    assert label.spec == CondSpec(vector=8)
    vectors = label({"label": [2, 0, 2]}).vector
    assert torch.equal(vectors, label.embedding.weight[[2, 0, 2]])
    assert torch.equal(label.null(2).vector, label.embedding.weight[[3, 3]])
    label.null(1).vector.sum().backward()
    assert label.embedding.weight.grad[3].eq(1).all()
    assert label.embedding.weight.grad[:3].eq(0).all()


def test_labels_may_be_a_tensor():
    label = Label(classes=FRUIT, width=4)
    assert torch.equal(label({"label": torch.tensor([1, 2])}).vector, label({"label": [1, 2]}).vector)


def test_request_takes_names_indices_and_nothing():
    request = Label(classes=FRUIT).from_prompts(["plum", "1", "", "  apple ", "red pear"])
    assert request == {"label": [2, 1, 3, 0, 1]}


def test_a_class_named_by_a_number_wins_over_the_index():
    assert Label(classes=("7", "0")).from_prompts(["0", "7", "1"]) == {"label": [1, 0, 1]}


@pytest.mark.parametrize("prompt", ["aple", "3", "-1", "²", "apple plum"])
def test_request_refuses_what_is_no_class(prompt):
    with pytest.raises(MultigenError, match=r"is not allowed\. Allowed: apple, Red Pear, plum") as error:
        Label(classes=FRUIT).from_prompts(["plum", prompt])
    assert repr(prompt) in str(error.value)
    if prompt == "aple":
        assert "Did you mean 'apple'?" in str(error.value)


def test_names_that_differ_by_case_only_need_their_case():
    label = Label(classes=("A", "a"))
    assert label.from_prompts(["a", "A"]) == {"label": [1, 0]}


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match="outside 0 to 2"):
        Label(classes=FRUIT)({"label": [0, 4]})
    with pytest.raises(ValueError, match="outside 0 to 2"):
        Label(classes=FRUIT)({"label": [-1]})


def test_items_without_labels_are_named():
    with pytest.raises(ValueError, match=r"no 'label' \(they have text\)"):
        Label(classes=FRUIT)({"text": ["x"]})


@pytest.mark.parametrize(
    ("args", "fault"),
    [({}, "neither the data nor the recipe"), ({"classes": ["a", "b", "a"]}, "more than once: a")],
)
def test_a_recipe_with_bad_classes_is_refused_where_it_stands(args, fault):
    with pytest.raises(RecipeError, match=rf"conditioner \(label\): classes: .*{fault}"):
        build("conditioner", Part("label", args))


def test_nothing_takes_only_nothing():
    nothing = build("conditioner", Part("none"))
    assert isinstance(nothing, Nothing)
    assert nothing.spec == CondSpec()
    assert nothing.from_prompts(["", " "]) == {}
    assert nothing({"text": ["a"]}).structure == nothing.null(3).structure == (None, None, None)
    with pytest.raises(MultigenError, match=r"'a cat' is not allowed\. This model was trained without"):
        nothing.from_prompts(["", "a cat"])
