"""Families of pipelines in diffusers' format: how a folder is taken apart. One file a family.

A family says which parts its folder has, how its network is called, what its text encoders give, and how large and with
which guidance its media are usually made. The registry's kind `family` finds it by the class in `model_index.json`.
"""

from multigen.families.family import Family, Form, States, Stream, open_family
from multigen.families.schedulers import Scheduler, read_scheduler

__all__ = ["Family", "Form", "Scheduler", "States", "Stream", "open_family", "read_scheduler"]
