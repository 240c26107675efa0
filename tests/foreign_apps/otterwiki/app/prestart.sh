# shellcheck shell=bash
git init --quiet "$REPOSITORY"
