#!/usr/bin/env bash
# The paper's attack on a Market-1501 model: noise types 0 (colour + delta), 1 (colour), 2 (delta); then its evaluation.
# Needs data/{market1501,dukemtmc,personx} (docs/datasets.md) and the two checkpoints below (docs/checkpoints.md).
# Every setting can be given from outside:     BATCH_SIZE=32 MAX_EPS=4/255 ATTACK_EPOCHS=10 bash runAttackMar.sh
set -euo pipefail
cd "$(dirname "$0")"

: "${DATA_DIR:=./data}"
: "${TARGET_DATASET:=dukemtmc}"
: "${TARGET_NET_DIR:=./pretrained_models/duke.pth}"
: "${SOURCE_DATASET:=market1501}"
: "${SOURCE_NET_DIR:=./pretrained_models/market.pth}"
: "${MAX_EPS:=8/255}"
: "${BATCH_SIZE:=64}"
: "${ATTACK_EPOCHS:=5}"
: "${NOISE_SAVE_DIR:=./attackModel/marketIDE/TripletMeta}"
: "${VIRTUAL_DATASETS:=personx}"
[ -z "${EPOCHS:-}" ] || { echo "error: EPOCHS is not read here; set ATTACK_EPOCHS instead" >&2; exit 2; }
source environment.sh requirements.txt "$SOURCE_NET_DIR" "$TARGET_NET_DIR" "$DATA_DIR"

ATTACKS=()
for NOISE_TYPE in 0 1 2; do
  "$PYTHON" metaAttack.py \
    -t "$TARGET_DATASET" \
    -s "$SOURCE_DATASET" \
    -m "$VIRTUAL_DATASETS" \
    --data "$DATA_DIR" \
    --resumeTgt "$TARGET_NET_DIR" \
    --resume "$SOURCE_NET_DIR" \
    --batch_size "$BATCH_SIZE" \
    --noise_type "$NOISE_TYPE" \
    --lp "$MAX_EPS" \
    --epoch "$ATTACK_EPOCHS" \
    --combine-trainval \
    --noise_resume "$NOISE_SAVE_DIR/$NOISE_TYPE" \
    --resume-from auto
  ATTACKS+=("$NOISE_SAVE_DIR/$NOISE_TYPE/best_perturbation$((ATTACK_EPOCHS - 1)).pth")
done
"$PYTHON" evaluate.py -d "$SOURCE_DATASET" --resume "$SOURCE_NET_DIR" --data "$DATA_DIR" --attack "${ATTACKS[@]}"
"$PYTHON" evaluate.py -d "$TARGET_DATASET" --resume "$TARGET_NET_DIR" --data "$DATA_DIR" --attack "${ATTACKS[@]}"
