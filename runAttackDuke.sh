#!/usr/bin/env bash
# The paper's attack on a DukeMTMC-reID model; as runAttackMar.sh, with the two datasets exchanged.
set -euo pipefail
cd "$(dirname "$0")"
: "${SOURCE_DATASET:=dukemtmc}" "${SOURCE_NET_DIR:=./pretrained_models/duke.pth}"
: "${TARGET_DATASET:=market1501}" "${TARGET_NET_DIR:=./pretrained_models/market.pth}"
: "${NOISE_SAVE_DIR:=./attackModel/dukeIDE/TripletMeta}"
export SOURCE_DATASET SOURCE_NET_DIR TARGET_DATASET TARGET_NET_DIR NOISE_SAVE_DIR
exec bash runAttackMar.sh
