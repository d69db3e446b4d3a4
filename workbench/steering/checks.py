"""Whether a recipe fits a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import InputError, SaeError
from workbench.features.refs import FeatureRef
from workbench.steering.targets import Dimensions, Feature, Head, Vector

if TYPE_CHECKING:
    from workbench.model import Site
    from workbench.session import Session
    from workbench.steering.intervention import Intervention
    from workbench.steering.recipe import Recipe

__all__ = ["check_recipe", "edited_site"]


def check_recipe(recipe: Recipe, session: Session) -> None:
    """Refuse a recipe that was made for another model or does not fit this one.

    Raises
    ------
    InputError
        The model's or an SAE's fingerprint is another, a width differs, or a number is outside.
    SaeError, SiteError
        An SAE is not attached, or a site does not exist.
    """
    model, made = session.model, recipe.provenance
    if made is not None and made.model_fingerprint != model.fingerprint:
        raise InputError(
            f"this recipe was made for {made.model} (fingerprint {made.model_fingerprint}), not "
            f"for {model.name} ({model.fingerprint}): strengths, features and directions mean "
            "nothing in another model"
        )
    for name in recipe.saes:
        found, noted = session.saes[name].fingerprint, recipe.sae_fingerprints.get(name)
        if noted is not None and noted != found:
            raise InputError(
                f"this recipe was made with an SAE {name} of fingerprint {noted}; the one attached "
                f"here has {found}, so its features are others"
            )
    for item in recipe.interventions:
        _check_target(item, session)
        if item.positions.when is not None:
            _check_condition(item, session)


def _check_target(item: Intervention, session: Session) -> None:
    target, model = item.target, session.model
    if isinstance(target, Feature):
        _check_feature(target.ref, session)
        if item.error == "drop" and session.saes[target.sae].is_transcoder:
            raise SaeError(
                f"{target.ref}: the error term of a transcoder stays in steering; use error='keep'"
            )
    elif isinstance(target, Vector):
        width = model.sites.resolve(target.site).d
        if width is not None and width != len(target.vector):
            raise InputError(
                f"{item.label}: the vector has {len(target.vector)} dimensions, {target.site} of "
                f"{model.name} is {width} wide"
            )
    elif isinstance(target, Dimensions):
        width = model.sites.resolve(target.site).d
        if width is not None and max(target.index) >= width:
            raise InputError(
                f"{item.label}: dimension {max(target.index)} is outside {target.site}, which has "
                f"0 … {width - 1}"
            )
    elif isinstance(target, Head):
        model.sites.resolve(target.site)
        if not 0 <= target.head < model.n_heads:
            raise InputError(f"{item.label}: expected heads 0 … {model.n_heads - 1}")


def _check_feature(text: str, session: Session) -> None:
    ref = FeatureRef.parse(text)
    sae = session.saes[ref.sae]
    if ref.index >= sae.d_sae:
        raise InputError(f"feature {ref} is outside the dictionary: expected 0 … {sae.d_sae - 1}")
    if sae.site is None or sae.out_site is None:
        raise SaeError(f"SAE {sae.name} is not attached to a site")


def _check_condition(item: Intervention, session: Session) -> None:
    when = item.positions.when
    if when is None:
        return
    _check_feature(when.feature, session)
    read, edited = session.saes[FeatureRef.parse(when.feature).sae].site, edited_site(item, session)
    if read is not None and read > edited:
        raise InputError(
            f"{item.label}: the condition reads {read}, which is computed after the edited "
            f"{edited}; expected a feature of the same site or an earlier one"
        )


def edited_site(item: Intervention, session: Session) -> Site:
    """Return the site an intervention changes.

    Raises
    ------
    SaeError, SiteError
        The SAE is not attached, or the site does not exist.
    """
    target = item.target
    if isinstance(target, Feature):
        site = session.saes[target.sae].out_site
        if site is None:
            raise SaeError(f"SAE {target.sae} is not attached to a site")
        return site
    return session.model.sites.resolve(target.site)
