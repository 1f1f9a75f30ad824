#!/usr/bin/env bash
# Fills a region of 64 MiB with each allocator that is used directly, and prints the share of the region that is live when the
# first request fails, as a table in Markdown.
set -euo pipefail
. "$(dirname "$0")/common.sh"

programs=$(build_figures)
"$programs/report" efficiency "$programs"
