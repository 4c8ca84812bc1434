#!/usr/bin/env bash
# The paper's defence of a Market-1501 model against noise types 0 (colour + delta), 1 (colour), 2 (delta), and what it
# is worth: mAP under the frozen attacker, under attackers learnt anew on the defended model, under PGD on each image.
# Needs data/{market1501,personx}, the checkpoint below, and the attackers of runAttackMar.sh (docs/defense.md).
# Every setting can be given from outside:     DEFENSE=mixed ATTACKER=online BATCH_SIZE=32 bash runDefenseMar.sh
set -euo pipefail
cd "$(dirname "$0")"
source environment.sh requirements.txt

: "${DATA_DIR:=./data}"
: "${SOURCE_DATASET:=market1501}"
: "${SOURCE_NET_DIR:=./pretrained_models/market.pth}"
: "${ARCH:=resMeta}"
: "${MAX_EPS:=8}"
: "${BATCH_SIZE:=64}"
: "${VIRTUAL_DATASETS:=personx}"
: "${EPOCHS:=85}"
: "${DEFENSE:=meta}"
: "${ATTACKER:=frozen}"
: "${NOISE_MODEL_PATH:=./attackModel/marketIDE/TripletMeta}"
: "${NOISE_FILE:=best_perturbation4.pth}"
: "${REID_MODEL_SAVE_DIR:=./defenseModel/market}"

for NOISE_TYPE in 0 1 2; do
  NOISE=$NOISE_MODEL_PATH/$NOISE_TYPE/$NOISE_FILE
  "$PYTHON" metaDefense.py \
    -s "$SOURCE_DATASET" \
    -m "$VIRTUAL_DATASETS" \
    --data "$DATA_DIR" \
    -a "$ARCH" \
    --resume "$SOURCE_NET_DIR" \
    --batch_size "$BATCH_SIZE" \
    --noise_type "$NOISE_TYPE" \
    --combine-trainval \
    --epochs "$EPOCHS" \
    --max-eps "$MAX_EPS" \
    --defense "$DEFENSE" \
    --attacker "$ATTACKER" \
    --noise_path1 "$NOISE" \
    --logs_dir "$REID_MODEL_SAVE_DIR/$NOISE_TYPE" \
    --resume-from auto
  "$PYTHON" evaluate.py -d "$SOURCE_DATASET" --resume "$REID_MODEL_SAVE_DIR/$NOISE_TYPE/model_best.pth" \
    --data "$DATA_DIR" --attack "$NOISE" --adaptive
done
