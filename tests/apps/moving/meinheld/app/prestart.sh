#! /usr/bin/env sh
export GREETING=prepared
