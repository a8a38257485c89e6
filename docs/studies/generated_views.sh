#!/usr/bin/env bash
# All of generated_views.md, in two lanes of one thread each: bash docs/studies/generated_views.sh [folder]
set -euo pipefail
export OMP_NUM_THREADS=1
OUT=${1:-generated_views}
DDPM=$OUT/ddpm IMAGES=$OUT/images FOREGROUND=$OUT/foreground LEVELS=$OUT/foreground/levels.parquet PARTNERS=$OUT/partners

as_data() {
    python -m sslab.datamodules.generate train_generator=ddpm data=shapes data.source.train=2000 trainer.max_steps=2000 out=$OUT/ddpm
    python -m sslab.datamodules.generate generator=ddim generator.folder=$DDPM generator.steps=25 count=4000 batch_size=250 out=$OUT/images
    python train.py -m experiment=demo data=inflated data.source.train=2000 trainer.max_steps=500 data.generated=$IMAGES data.copies=1 eval=generated runs=$OUT/vanilla seed=0,1,2
    python train.py -m experiment=demo data=inflated data.source.train=2000 trainer.max_steps=500 data.generated=$IMAGES data.copies=10 views.scale=[0.7,1.0] views.jitter=0.4 views.brightness=0.2 views.contrast=0.2 views.saturation=0.2 views.hue=0.25 eval=generated runs=$OUT/adainf seed=0,1,2
}

as_views() {
    python train.py experiment=demo data.source.train=4000 trainer.max_steps=400 eval=none runs=$OUT/encoder seed=9
    RUN=$(echo $OUT/encoder/*/*)
    python -m sslab.datamodules.generate foreground=pca foreground.encoder.weights=$RUN data=shapes data.source.train=4000 out=$OUT/foreground
    python -m sslab.datamodules.generate generator=variant generator.levels=$LEVELS data=shapes data.source.train=4000 out=$OUT/partners
    python train.py -m experiment=demo data.source.train=4000 trainer.max_steps=400 runs=$OUT/real seed=0,1,2
    python train.py -m experiment=demo data.source.train=4000 trainer.max_steps=400 views=paired data.partners=$PARTNERS runs=$OUT/paired seed=0,1,2
    python train.py -m experiment=demo data.source.train=4000 trainer.max_steps=400 views=paired data.partners=$PARTNERS latent=[quality] latent.quality.foreground=$FOREGROUND runs=$OUT/genview seed=0,1,2
}

without_generated() {
    python train.py -m experiment=demo data=inflated data.source.train=2000 trainer.max_steps=500 data.generated=null data.copies=1 runs=$OUT/none seed=0,1,2
    python train.py -m experiment=demo data=inflated data.source.train=2000 trainer.max_steps=500 data.generated=null data.copies=1 views.scale=[0.7,1.0] views.jitter=0.4 views.brightness=0.2 views.contrast=0.2 views.saturation=0.2 views.hue=0.25 runs=$OUT/weaker seed=0,1,2
}

as_data &
lane=$!
as_views
without_generated
wait $lane
python -m sslab.eval seeds $OUT/none $OUT/vanilla $OUT/adainf $OUT/weaker
python -m sslab.eval seeds $OUT/real $OUT/paired $OUT/genview
