#!/usr/bin/env bash
# The paper's defence of a DukeMTMC-reID model; as runDefenseMar.sh, with the attackers of runAttackDuke.sh.
set -euo pipefail
cd "$(dirname "$0")"
: "${SOURCE_DATASET:=dukemtmc}" "${SOURCE_NET_DIR:=./pretrained_models/duke.pth}"
: "${NOISE_MODEL_PATH:=./attackModel/dukeIDE/TripletMeta}" "${REID_MODEL_SAVE_DIR:=./defenseModel/duke}"
export SOURCE_DATASET SOURCE_NET_DIR NOISE_MODEL_PATH REID_MODEL_SAVE_DIR
exec bash runDefenseMar.sh
