#!/usr/bin/env bash
# Absences, checked mechanically: what must not be in this repository or in a crate's dependencies.
# Prints one line per check, `ok` or `FAILED`, with what was found; exits 1 if any failed. Needs no network once
# the dependencies are there. May be called from any directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0

# report NAME FINDINGS: findings are lines; none means that all is well.
report() {
  if [[ -z $2 ]]; then
    echo "ok      $1"
  else
    echo "FAILED  $1"
    sed 's/^/          /' <<<"$2"
    failed=1
  fi
}

# absent CRATE ARGS...: nothing, or why CRATE is (or may be) among the dependencies that `cargo tree ARGS` lists.
absent() {
  local crate=$1 out
  shift
  if out=$(cargo tree --locked --edges normal "$@" --invert "$crate" 2>&1); then
    [[ $out == *"nothing to print"* ]] || echo "$out"
  elif [[ $out != *"did not match any packages"* ]]; then
    echo "cargo tree failed: $out"
  fi
}

# matches PATTERN PATHS...: tracked text lines that match. Finding none is not an error.
matches() {
  local pattern=$1
  shift
  git grep --untracked -nIP "$pattern" -- "$@" || [[ $? == 1 ]]
}

for crate in tokio socket2 mio; do
  report "shoal-proto does not depend on $crate" "$(absent "$crate" --package shoal-proto)"
done
report "shoal-net knows neither node nor router" \
  "$(absent shoal-node --package shoal-net; absent shoal-router --package shoal-net)"
report "shoal-node does not depend on shoal-router" "$(absent shoal-router --package shoal-node)"
report "shoal-router without 'embedded' does not depend on shoal-node" \
  "$(absent shoal-node --package shoal-router --no-default-features)"
report "daemons do not depend on the test kit" \
  "$(absent shoal-testkit --package shoal-node; absent shoal-testkit --package shoal-router)"

# A few modules may: one asks the processor to prefetch, which takes a raw pointer; one has it compare bytes; two map memory and
# hand out parts of it; one calls the C library's allocator.
report "no unsafe code" \
  "$(matches '^(?!\s*//).*\bunsafe\s*(\{|fn\b|impl\b|trait\b|extern\b)|\ballow\([^)]*unsafe_code' '*.rs' ':!node/src/store/prefetch.rs' ':!node/src/store/line.rs' ':!node/src/store/pool.rs' ':!node/src/store/huge.rs' ':!node/src/heap/mod.rs')"
report "no lint against unwrap is switched off in src" \
  "$(matches '\b(allow|expect)\([^)]*(unwrap_used|clippy::all)' '*/src/*.rs')"
report "no todo!, unimplemented! or ignored test" \
  "$(matches '^(?!\s*//).*(\b(todo|unimplemented)!\(|#\[ignore)' '*.rs')"
report "every crate takes the workspace's lints" \
  "$(for f in $(git ls-files --cached --others --exclude-standard '*Cargo.toml' ':!proto/fuzz' ':!Cargo.toml'); do
    grep -qzP '\[lints\]\nworkspace = true' "$f" || echo "$f"
  done)"

allowed=' .ci .gitignore ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md Cargo.lock Cargo.toml LICENSE README.md
  clippy.toml deny.toml docs k8s loadtest node proto router rustfmt.toml '
report "the top level holds only what belongs there" \
  "$(git ls-files --cached --others --exclude-standard | cut -d/ -f1 | sort -u | while read -r name; do
    [[ $allowed =~ [[:space:]]${name//./\\.}[[:space:]] ]] || echo "$name"
  done)"
report "no source file above 700 lines" \
  "$(git ls-files --cached --others --exclude-standard '*/src/*.rs' | while read -r file; do
    lines=$(wc -l <"$file")
    ((lines <= 700)) || echo "$file: $lines lines"
  done)"
report "no paths of somebody's machine" "$(matches '(?<![\w.}])/(work|root|home|Users)/\w' .)"
report "no private host names" "$(matches '\b[\w-]+\.(internal|corp|intra|lan)\b(?!\()' . ':!Cargo.lock' ':!*.rs')"
report "licences and sources are those of deny.toml" "$(python3 .ci/licences.py 2>&1 || true)"

exit "$failed"
