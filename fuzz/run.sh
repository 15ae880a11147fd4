#!/usr/bin/env bash
# Fuzz one target for some seconds: fuzz/run.sh jpeg 60 [options of libFuzzer]
#
# Needs cargo-fuzz (`cargo install cargo-fuzz`) and a C++ compiler; the stable toolchain will do. What is learnt stays in
# fuzz/corpus/, an input that fails goes to fuzz/artifacts/ and is run again by `fuzz/run.sh TARGET 0 FILE`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
target=${1:?"which target? one of $(ls fuzz_targets | sed 's/\.rs//' | xargs)"}
seconds=${2:?"for how many seconds?"}
shift 2

# AddressSanitizer and the coverage that guides libFuzzer are options of the nightly compiler; this lets the stable one
# have them.
export RUSTC_BOOTSTRAP=1
build=(--fuzz-dir . --sanitizer address)

case $target in
  cifar) longest=16384 ;;
  *) longest=65536 ;;
esac
limits=(-rss_limit_mb=2048 -timeout=10 "-max_len=$longest" -max_total_time="$seconds" -print_final_stats=1)

if [ "$seconds" = 0 ]; then
  exec cargo fuzz run "${build[@]}" "$target" "$@"
fi

# The decoders are fed with odd files from practice too, where they lie at hand.
mkdir -p "corpus/$target"
folders=("corpus/$target")
case $target in
  part) folders+=(seeds/{jpeg,png,webp,tiff,other}) ;;
  weights) folders+=(../fixtures/pickles) ;;
  *) folders+=("seeds/$target") ;;
esac
quirks=${VERTEBRA_DATA:+$VERTEBRA_DATA/decode-quirks}
if [ -n "$quirks" ] && [ -d "$quirks" ]; then
  case $target in
    jpeg | png | webp | tiff) folders+=("$quirks/$target") ;;
    other) folders+=("$quirks/bmp" "$quirks/gif" "$quirks/pnm") ;;
    part) folders+=("$quirks/jpeg" "$quirks/png" "$quirks/tiff") ;;
  esac
fi
exec cargo fuzz run "${build[@]}" "$target" "${folders[@]}" -- "${limits[@]}" "$@"
