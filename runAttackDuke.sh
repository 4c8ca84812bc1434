#!/usr/bin/env bash
# The paper's attack on a DukeMTMC-reID model; as runAttackMar.sh, with the two datasets exchanged.
cd "$(dirname "$0")"
export SOURCE_DATASET=dukemtmc SOURCE_NET_DIR=./pretrained_models/duke.pth
export TARGET_DATASET=market1501 TARGET_NET_DIR=./pretrained_models/market.pth
export NOISE_SAVE_DIR=./attackModel/dukeIDE/TripletMeta
exec bash runAttackMar.sh
