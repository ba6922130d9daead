# SPDX-License-Identifier: MIT
"""What ``harness init`` writes: each file, and what it is for."""

from __future__ import annotations

import dataclasses

from harness.host.programs import packages


@dataclasses.dataclass(frozen=True)
class StarterFile:
    """A file of a new repository."""

    path: str
    purpose: str
    """One line, for the user."""
    text: str
    program: bool = False

    @property
    def content(self) -> str:
        """The text with the names of Debian's packages."""
        return self.text.replace("@PACKAGES@", " ".join(sorted(set(packages().values()))))


_SETTINGS = """\
# Settings of the harness for this repository. Every command reads them; what is typed wins.
# Paths are relative to this file. A table such as [gate] holds for that command alone.

kernel = "6.1"              # Debian's linux-source-6.1; also "newest", a kernel tree, a zImage
area = "BiscuitOS_cma"      # the CMA area that the driver's memory must come from
# dts = "my.dts"            # the layout of areas: a device tree's source
# module = "my.ko"          # a driver instead of ours
# memory = 512              # RAM in MiB
# jobs = 2                  # how much at once; all cores without it
output = "artifacts"        # logs and reports

# [gate]
# config = ["my.config"]    # kernel options, merged into ours as merge_config.sh does
# require-coverage = true   # reject what changes code that no test executes
"""
_TEST = '''\
"""The first test: each takes the fixture `guest`, a pristine machine of its own."""


def test_memory_comes_from_its_area(guest):
    guest.insmod()
    region = guest.run_app()[0].phys
    placement = guest.judge(region)  # raises with a map of the memory where it is elsewhere
    assert placement.area.name == "BiscuitOS_cma"


def test_all_of_it_comes_back(guest):
    before = guest.cma().used("BiscuitOS_cma")
    guest.insmod()
    with guest.holding():
        assert guest.cma().used("BiscuitOS_cma") == before + (1 << 20)
    assert guest.cma().used("BiscuitOS_cma") == before
'''
_RUN = """\
#!/bin/sh
# What CI runs, and you too: the main job, then the tests of this repository.
set -eu
cd "$(dirname "$0")/.."
harness run
harness test tests "$@"
"""
_REQUIREMENTS = """\
# What CI installs. Name a version, a wheel's address or a git repository (git+https://...) here:
# the harness is on no public index.
vexpress-cma-harness
"""
_GITHUB = """\
# Runs ci/run on each push and each pull request.
name: cma

on: [push, pull_request]

permissions:
  contents: read

jobs:
  cma:
    runs-on: ubuntu-24.04
    container: debian:12
    timeout-minutes: 60
    steps:
      - name: git and Python
        run: |
          apt-get -qq update
          apt-get -qq -y install --no-install-recommends ca-certificates git python3 python3-venv
      - uses: actions/checkout@v4
        with:
          persist-credentials: false
      - uses: actions/cache@v4
        with:
          path: ~/.cache/vexpress-cma-harness
          key: harness-${{ hashFiles('harness.toml', 'requirements-ci.txt') }}
      - name: the harness, and the packages that it asks for
        run: |
          python3 -m venv /opt/harness
          /opt/harness/bin/pip install -q -r requirements-ci.txt
          apt-get -qq -y install --no-install-recommends @PACKAGES@
      - name: run
        run: PATH=/opt/harness/bin:$PATH ci/run
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: artifacts
          path: artifacts
"""
_GITLAB = """\
# Runs ci/run on each push and each merge request.
cma:
  image: debian:12
  timeout: 1h
  variables:
    HARNESS_CACHE: $CI_PROJECT_DIR/.cache/harness
  cache:
    key:
      files: [harness.toml, requirements-ci.txt]
    paths: [.cache/harness]
  before_script:
    - apt-get -qq update
    - apt-get -qq -y install --no-install-recommends ca-certificates git python3 python3-venv
    - python3 -m venv /opt/harness
    - /opt/harness/bin/pip install -q -r requirements-ci.txt
    - apt-get -qq -y install --no-install-recommends @PACKAGES@
  script:
    - PATH=/opt/harness/bin:$PATH ci/run
  artifacts:
    when: always
    paths: [artifacts]
"""
_IGNORED = """\
artifacts/
.cache/
__pycache__/
"""

FILES = (
    StarterFile("harness.toml", "settings that every command reads", _SETTINGS),
    StarterFile("tests/test_first.py", "two tests to begin with, each on its own guest", _TEST),
    StarterFile("ci/run", "what CI runs: the main job and the tests; run it here", _RUN, True),
    StarterFile("requirements-ci.txt", "which harness CI installs: name yours", _REQUIREMENTS),
    StarterFile(".github/workflows/cma.yml", "CI on GitHub: runs ci/run", _GITHUB),
    StarterFile(".gitlab-ci.yml", "CI on GitLab: runs ci/run", _GITLAB),
    StarterFile(".gitignore", "keeps results out of git", _IGNORED),
)
"""In the order in which they are told."""
