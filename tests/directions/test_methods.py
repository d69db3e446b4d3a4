"""Methods find directions that were planted: in numbers, in the toy model, in synthetic data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from workbench.directions.activations import TextActs, capture
from workbench.directions.methods import (
    METHODS,
    BagOfWords,
    ConceptData,
    LabelledFeature,
    LinearProbe,
    PrincipalComponent,
    PromptBaseline,
    RankOneReft,
    SelectedFeature,
    SteeringVector,
    UnavailableError,
    choose_methods,
)
from workbench.directions.methods.linear import first_component
from workbench.directions.methods.trained import Batch, edited_loss, next_token_loss, response_mask
from workbench.errors import InputError
from workbench.features.refs import FeatureRef

PLURAL = ["the dogs really", "the cats always", "the birds really", "the dogs near the car really"]
SINGULAR = ["the dog really", "the cat always", "the bird really", "the dog near the car really"]


def numbers(session, tokens: np.ndarray, positive: np.ndarray, per_text: int = 1) -> ConceptData:
    """Concept data of given activations, `per_text` tokens to a text."""
    count = len(tokens) // per_text
    read = session.tokens(["the dog"] * count)
    acts = TextActs(
        tokens=read,
        texts=("the dog",) * count,
        used="all",
        starts=np.arange(count + 1) * per_text,
        acts={"resid_post.0": torch.from_numpy(tokens.astype(np.float32))},
        codes={},
    )
    return ConceptData(
        session=session,
        name="c",
        label="c",
        site="resid_post.0",
        saes=(),
        acts=acts,
        positive=positive,
        labels=lambda ref: None,
    )


def words(session, used: str = "last") -> ConceptData:
    """The toy's plural subjects against its singular ones."""
    texts = [*PLURAL, *SINGULAR]
    return ConceptData(
        session=session,
        name="plural",
        label="expects_plural",
        site="resid_post.0",
        saes=("resid_post.0",),
        acts=capture(session, texts, sites=["resid_post.0"], saes=["resid_post.0"], used=used),
        positive=np.repeat([True, False], [len(PLURAL), len(SINGULAR)]),
        labels=lambda ref: None,
    )


@pytest.mark.parametrize("method", ["diff_mean", "pca", "lat", "linear_probe"])
def test_a_planted_direction_is_found(toy_session, method):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=16)
    truth /= np.linalg.norm(truth)
    positive = np.repeat([True, False], 300)
    # The concept's strength varies from token to token, more than any other direction.
    strength = np.where(positive, rng.uniform(2, 10, 600), 0)
    tokens = rng.normal(size=(600, 16)) * 0.3 + strength[:, None] * truth
    found = METHODS[method]().fit(numbers(toy_session, tokens, positive))
    assert found.direction.cosine(truth) > 0.98


def test_diff_mean_by_hand(toy_session):
    tokens = np.zeros((4, 16))
    tokens[:2, 0], tokens[2:, 1] = (2, 4), (1, 7)
    data = numbers(toy_session, tokens, np.array([True, True, False, False]))
    direction = METHODS["diff_mean"]().fit(data).direction
    np.testing.assert_allclose(direction.vector[:2], [3 / 5, -4 / 5], rtol=1e-6)
    assert direction.norm == pytest.approx(5.0)


def test_equal_classes_have_no_direction(toy_session):
    data = numbers(toy_session, np.ones((4, 16)), np.array([True, True, False, False]))
    with pytest.raises(UnavailableError, match="same mean"):
        METHODS["diff_mean"]().fit(data)


def test_first_component_is_scikit_learns():
    from sklearn.decomposition import PCA

    rows = np.random.default_rng(0).normal(size=(40, 6)) * [1, 2, 3, 4, 5, 6] + 10
    ours = first_component(torch.from_numpy(rows)).numpy()
    theirs = PCA(1).fit(rows).components_[0]
    assert abs(ours @ theirs) == pytest.approx(1.0)


def test_a_component_is_oriented_only_if_asked(toy_session):
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(40, 16)) * 0.1
    tokens[:20, 0] += rng.uniform(1, 9, 20)
    positive = np.repeat([True, False], 20)
    for sign in (1, -1):
        data = numbers(toy_session, sign * tokens, positive)
        direction = PrincipalComponent().fit(data).direction
        assert sign * direction.vector[0] > 0.9
        loose = PrincipalComponent(orient=False).fit(data).direction
        assert abs(loose.vector[0]) > 0.9


@pytest.mark.parametrize("solver", ["lbfgs", "adamw"])
def test_the_probe_scores_as_log_odds_up_to_length(toy_session, solver):
    rng = np.random.default_rng(0)
    positive = np.repeat([True, False], 200)
    tokens = rng.normal(size=(400, 16))
    tokens[:, 3] += np.where(positive, 3.0, 1.0)
    data = numbers(toy_session, tokens, positive)
    direction = LinearProbe(solver=solver, learning_rate=0.05, epochs=200).fit(data).direction
    assert direction.vector[3] > 0.9
    # The boundary lies half way between the classes: 0 of the biased score.
    scores = tokens @ direction.vector + direction.bias
    assert ((scores > 0) == positive).mean() > 0.8


def test_probe_refuses_unknown_solvers():
    with pytest.raises(InputError, match="lbfgs"):
        LinearProbe(solver="lbfg")


def test_the_toys_plural_feature_is_selected(toy_session):
    found = SelectedFeature().fit(words(toy_session))
    from workbench.demo import toy

    names = toy.build().dictionaries["resid_post.0"].features
    assert "plural" in names[found.feature.index]
    assert found.details["training_auroc"] == 1.0


def test_a_labelled_feature_is_taken_by_label(toy_session):
    data = words(toy_session)
    labels = {4: "animal", 9: "Expects plural", 10: "expects singular"}
    named = dataclasses.replace(data, labels=lambda ref: labels.get(ref.index))
    named = dataclasses.replace(named, label="expects plural")
    assert LabelledFeature().fit(named).feature == FeatureRef("resid_post.0", 9)
    # Labels that are merely alike are not taken for the concept, unless that is asked for.
    alike = dataclasses.replace(named, label="expect plural")
    with pytest.raises(UnavailableError, match="the nearest label is 'Expects plural'"):
        LabelledFeature().fit(alike)
    assert LabelledFeature(similarity=90).fit(alike).feature.index == 9
    other = dataclasses.replace(named, label="weather")
    with pytest.raises(UnavailableError, match="labelled 'weather'"):
        LabelledFeature().fit(other)
    known = dataclasses.replace(other, feature=FeatureRef("resid_post.0", 2))
    assert LabelledFeature().fit(known).feature.index == 2
    with pytest.raises(UnavailableError, match="no SAE"):
        LabelledFeature().fit(dataclasses.replace(data, saes=()))


def test_bag_of_words_separates_by_words(toy_session):
    data = words(toy_session)
    found = BagOfWords().fit(data)
    scores = found.score(["the dogs", "the dog", "unseen words"])
    assert scores[0] > scores[1]
    assert np.isfinite(scores[2])


def test_a_judge_is_asked_with_label_and_texts(toy_session):
    asked = []

    def judge(concept, texts):
        asked.append((concept, list(texts)))
        return [len(text) for text in texts]

    found = PromptBaseline(judge=judge).fit(words(toy_session))
    assert found.score(["ab", [{"role": "user", "content": "{x}"}]]).tolist() == [2, 3]
    assert asked == [("expects_plural", ["ab", "{x}"])]
    wrong = PromptBaseline(judge=lambda concept, texts: [1.0]).fit(words(toy_session))
    with pytest.raises(InputError, match="one score per text"):
        wrong.score(["a", "b"])


def test_the_model_itself_is_asked_where_it_can_be(toy_session):
    with pytest.raises(UnavailableError, match="no words for the answers"):
        PromptBaseline().fit(words(toy_session))
    able = PromptBaseline(template="{text} {concept}", answers=(" run", " runs"))
    data = dataclasses.replace(words(toy_session), label="really")
    scores = able.fit(data).score(["the dogs", "the dog"])
    assert scores[0] > 0 > scores[1]


def test_next_token_loss_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]))
    ids = torch.tensor([[0, 1, 0]])
    own = torch.tensor([[True, True, True]])
    # Token 1 is predicted at 0.5, token 2 at 0.25; the first is not predicted.
    expected = -(np.log(0.5) + np.log(0.25)) / 2
    assert float(next_token_loss(logits, ids, own)) == pytest.approx(expected)
    last = torch.tensor([[False, False, True]])
    assert float(next_token_loss(logits, ids, last)) == pytest.approx(-np.log(0.25))


def test_the_steering_vector_lowers_the_loss_of_positives(toy_session):
    data = words(toy_session, used="all")
    found = SteeringVector(epochs=20, batch_size=4, learning_rate=0.05).fit(data)
    vector = found.direction.to_torch() * found.direction.norm
    tokens = toy_session.tokens(PLURAL)
    batch = Batch(tokens, tokens.mask & ~tokens.special)
    plain = edited_loss(data, batch, lambda x, here: x).item()
    steered = edited_loss(data, batch, lambda x, here: x + here[..., None] * vector).item()
    assert steered < plain - 0.05


def test_the_gradient_of_the_edited_loss_is_right(toy_session):
    data = words(toy_session, used="all")
    tokens = toy_session.tokens(PLURAL)
    batch = Batch(tokens, tokens.mask & ~tokens.special)
    vector = torch.zeros(16, requires_grad=True)

    def loss(v):
        return edited_loss(data, batch, lambda x, here: x + here[..., None] * v)

    [gradient] = torch.autograd.grad(loss(vector), [vector])
    for dimension in (0, 5, 11):
        step = torch.zeros(16)
        step[dimension] = 1e-2
        measured = (loss(step).item() - loss(-step).item()) / 2e-2
        assert float(gradient[dimension]) == pytest.approx(measured, abs=2e-4)


def test_the_loss_of_a_conversation_is_its_answers(demo_session):
    question = {"role": "user", "content": "which club does Elena Marsh play for ?"}
    chat = [question, {"role": "assistant", "content": "She plays for."}]
    texts = [chat, [question], [*chat, question]]
    tokens = demo_session.tokens(texts)
    acts = TextActs(
        tokens=tokens,
        texts=tuple(texts),
        used="all",
        starts=np.zeros(4, dtype=int),
        acts={},
        codes={},
    )
    data = dataclasses.replace(
        numbers(demo_session, np.zeros((2, 16)), np.array([True, False])), acts=acts
    )
    marked = response_mask(data)
    strings = [
        [text for text, on in zip(row, marks, strict=False) if on]
        for row, marks in zip(tokens.strings, marked.tolist(), strict=True)
    ]
    assert "".join(strings[0]).replace(" ", "") == "Sheplaysfor."
    assert "club" in strings[1]
    # One that ends with the user's message has no last answer: all own tokens count.
    assert strings[2].count("club") == 2


def test_the_edit_of_rank_one_reft_by_hand():
    penalties: list[torch.Tensor] = []
    edit = RankOneReft(k=2)._edit(torch.tensor([1.0, 0.0]), penalties)
    x = torch.tensor([[[3.0, 1.0], [-2.0, 1.0], [1.0, 0.0], [5.0, 0.0]]])
    here = torch.tensor([[1.0, 1.0, 1.0, 0.0]])  # the last is padding
    edited = edit(x, here)
    # Latents 3, 0, 1 (0 at padding): the mean of the top two is 2, and nothing is left over.
    expected = x + torch.tensor([2.0, 0.0]) * here[..., None]
    assert torch.equal(edited, expected)
    assert float(penalties[0]) == 0
    RankOneReft(k=1)._edit(torch.tensor([1.0, 0.0]), penalties)(x, here)
    assert float(penalties[1]) == pytest.approx(1 / 3)


def test_rank_one_reft_gives_a_unit_vector_and_stops_when_told(toy_session):
    data = words(toy_session, used="all")
    direction = RankOneReft(epochs=2).fit(data).direction
    assert np.linalg.norm(direction.vector) == pytest.approx(1.0, abs=1e-6)
    assert direction.norm == 1.0

    class StopError(Exception):
        pass

    def progress(done, total):
        assert total == 4
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        RankOneReft(epochs=2).fit(dataclasses.replace(data, progress=progress))


def test_the_same_seed_gives_the_same_direction(toy_session):
    data = words(toy_session, used="all")
    for name in ("lat", "ssv", "reft_r1"):
        first, second = (METHODS[name]().fit(data).direction.vector for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_choosing_methods():
    assert [method.name for method in choose_methods(None)] == list(METHODS)
    assert choose_methods(["pca", LinearProbe()])[1] == LinearProbe()
    with pytest.raises(InputError, match="diff_mean"):
        choose_methods(["diffmean"])
    with pytest.raises(InputError, match="different"):
        choose_methods(["pca", "pca"])


def test_synthetic_features_are_found(toy_session):
    """The true dictionary of `sae_lens.synthetic`, in superposition, is what methods find."""
    from sae_lens.synthetic import ActivationGenerator, FeatureDictionary

    torch.manual_seed(0)
    dictionary = FeatureDictionary(num_features=24, hidden_dim=16, seed=0)
    generator = ActivationGenerator(
        num_features=24, firing_probabilities=0.15, mean_firing_magnitudes=3.0
    )
    codes = generator.sample(4000)
    hidden = dictionary(codes).detach().numpy()
    for feature in (0, 7, 19):
        positive = codes[:, feature].numpy() > 0
        truth = dictionary.feature_vectors[feature].detach().numpy()
        data = numbers(toy_session, hidden, positive)
        assert METHODS["diff_mean"]().fit(data).direction.cosine(truth) > 0.95
        # The probe reads past the features that interfere, so it leans away from them.
        probe = METHODS["linear_probe"]().fit(data).direction
        said = hidden @ probe.vector + probe.bias > 0
        assert (said == positive).mean() > 0.95
