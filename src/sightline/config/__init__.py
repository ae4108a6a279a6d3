"""Typed settings: a recipe or YAML file and KEY=VALUE make one frozen configuration."""

from __future__ import annotations

from sightline.config.compare import ABSENT, compare_configs
from sightline.config.loading import load_config
from sightline.config.recipes import recipe_names, recipe_path, recipe_summary
from sightline.config.render import dump_config, plain_tree, render_config
from sightline.config.section import Section
from sightline.config.sections import EvalConfig, ProjectConfig, TrackingConfig
from sightline.config.yaml_loader import parse_value, read_yaml

__all__ = [
    "ABSENT",
    "EvalConfig",
    "ProjectConfig",
    "Section",
    "TrackingConfig",
    "compare_configs",
    "dump_config",
    "load_config",
    "parse_value",
    "plain_tree",
    "read_yaml",
    "recipe_names",
    "recipe_path",
    "recipe_summary",
    "render_config",
]
