"""Words of the field that events of several services use."""

from typing import Annotated, Literal, get_args

from msgspec import Meta

from rembuk.events.texts import CODE

Strategy = Literal[
    "partnership",
    "problem_solving",
    "self_reliant_security",
    "traditional_institutions",
    "service_approach",
    "guidance_and_counselling",
    "dialogic_patrol",
    "closer_relations",
    "supervision_and_coaching",
    "security_cooperation",
]
"""The ten strategies of Polmas (a-j of Perkap 3/2015), in the order of the source."""

Pillar = Literal[
    "government",
    "police",
    "religious",
    "adat",
    "youth",
    "women",
    "education",
    "business",
    "media",
    "security_self_help",
    "residents",
]
"""Stakeholders of local success; whoever belongs to none other stands for the residents."""

Sex = Literal["female", "male"]

Disclosure = Literal["public", "forum", "officer", "commander"]
"""Who may see a report, from everyone to the commander alone."""

Disclosed = Annotated[str, CODE, Meta(extra_json_schema={"enum": sorted(get_args(Disclosure))})]
"""The same as an event says it: a word of a newer release can be read, and is for nobody (`contracts.disclosure`)."""
