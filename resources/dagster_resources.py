"""Dagster's view of what is outside: the installation as a resource."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from resources.installation import Installation


class InstallationResource(dg.ConfigurableResource[Installation]):
    """Opens the installation of `folder` (default: the folder in which the code location was started)."""

    folder: str = ""

    def create_resource(self, context: dg.InitResourceContext) -> Installation:  # noqa: ARG002  # Dagster's signature
        """The installation, shared by the steps of one process."""
        return Installation(folder=Path(self.folder or Path.cwd()))
