"""Every plug-in that ships with nnray: kind, name, and where its function stands.

Strings only, so that listing them imports nothing. Adding a thing is one function in one file
and one line here; the contract tests cover it from that moment.
"""

from __future__ import annotations

from collections.abc import Mapping

CATALOG: Mapping[str, Mapping[str, str]] = {
    "dataset": {
        "digits": "nnray.data.digits:digits",
        "mnist": "nnray.data.idx:mnist",
        "fashion_mnist": "nnray.data.idx:fashion_mnist",
        "cifar10": "nnray.data.cifar:cifar10",
        "heart_disease": "nnray.data.heart_disease:heart_disease",
        "image_folder": "nnray.data.folder:image_folder",
        "npz": "nnray.data.npz:npz",
        "parquet": "nnray.data.stream_parquet:parquet",
        "csv": "nnray.data.stream_csv:csv",
    },
    "augmentation": {
        "crop": "nnray.data.augment:crop",
        "flip": "nnray.data.augment:flip",
        "rotation": "nnray.data.augment:rotation",
        "color": "nnray.data.augment:color",
        "erasing": "nnray.data.augment:erasing",
        "mixup": "nnray.data.augment:mixup",
        "cutmix": "nnray.data.augment:cutmix",
    },
    "model": {
        "mlp": "nnray.models.mlp:mlp",
        "cnn": "nnray.models.cnn:cnn",
        "simple_cnn": "nnray.models.cnn:simple_cnn",
        "lenet": "nnray.models.cnn:lenet",
        "cifar_cnn": "nnray.models.cnn:cifar_cnn",
        "resnet": "nnray.models.resnet:resnet",
        "torchvision": "nnray.models.torchvision:torchvision_classifier",
    },
    "task": {
        "classification": "nnray.tasks.classification:classification",
    },
    "optimizer": {
        "sgd": "nnray.training.optimizers:sgd",
        "adam": "nnray.training.optimizers:adam",
        "adamw": "nnray.training.optimizers:adamw",
        "rmsprop": "nnray.training.optimizers:rmsprop",
        "adagrad": "nnray.training.optimizers:adagrad",
        "muon": "nnray.training.optimizers:muon",
    },
    "schedule": {
        "constant": "nnray.training.schedules:constant",
        "step": "nnray.training.schedules:step",
        "cosine": "nnray.training.schedules:cosine",
        "one_cycle": "nnray.training.schedules:one_cycle",
        "plateau": "nnray.training.schedules:plateau",
    },
    "searcher": {
        "tpe": "nnray.runners.sweep.searchers:tpe",
        "gp": "nnray.runners.sweep.searchers:gp",
        "cmaes": "nnray.runners.sweep.searchers:cmaes",
        "nsga2": "nnray.runners.sweep.searchers:nsga2",
        "random": "nnray.runners.sweep.searchers:random",
        "grid": "nnray.runners.sweep.searchers:grid",
    },
    "scheduler": {
        "asha": "nnray.runners.sweep.schedulers:asha",
        "hyperband": "nnray.runners.sweep.hyperband:hyperband",
        "median": "nnray.runners.sweep.median:median",
        "pbt": "nnray.runners.sweep.pbt:pbt",
        "none": "nnray.runners.sweep.schedulers:none",
    },
    "partition": {
        "iid": "nnray.federated.partitions.by_label:iid",
        "dirichlet": "nnray.federated.partitions.by_label:dirichlet",
        "shards": "nnray.federated.partitions.by_label:shards",
        "labels_per_client": "nnray.federated.partitions.by_label:labels_per_client",
        "quantity_dirichlet": "nnray.federated.partitions.by_size:quantity_dirichlet",
        "quantity_lognormal": "nnray.federated.partitions.by_size:quantity_lognormal",
        "natural": "nnray.federated.partitions.by_input:natural",
        "feature_noise": "nnray.federated.partitions.by_input:feature_noise",
    },
    "sampler": {
        "uniform": "nnray.federated.sampling:uniform",
        "poisson": "nnray.federated.sampling:poisson",
        "trace": "nnray.federated.sampling:trace",
    },
    "strategy": {
        "fedavg": "nnray.federated.strategies.fedavg:fedavg",
        "fedavgm": "nnray.federated.strategies.fedavgm:fedavgm",
        "fedprox": "nnray.federated.strategies.fedprox:fedprox",
        "scaffold": "nnray.federated.strategies.scaffold:scaffold",
        "fednova": "nnray.federated.strategies.fednova:fednova",
        "fedopt": "nnray.federated.strategies.fedopt:fedopt",
        "fedadam": "nnray.federated.strategies.adaptive:fedadam",
        "fedyogi": "nnray.federated.strategies.adaptive:fedyogi",
        "fedadagrad": "nnray.federated.strategies.adaptive:fedadagrad",
        "fedsgd": "nnray.federated.strategies.fedsgd:fedsgd",
        "feddyn": "nnray.federated.strategies.feddyn:feddyn",
        "qfedavg": "nnray.federated.strategies.qfedavg:qfedavg",
        "central": "nnray.federated.strategies.baselines:central",
        "local": "nnray.federated.strategies.baselines:local",
    },
    "codec": {
        "top_k": "nnray.federated.codecs.sparse:top_k",
        "random_k": "nnray.federated.codecs.sparse:random_k",
        "qsgd": "nnray.federated.codecs.quantised:qsgd",
        "int8": "nnray.federated.codecs.quantised:int8",
        "signsgd": "nnray.federated.codecs.quantised:signsgd",
        "powersgd": "nnray.federated.codecs.low_rank:powersgd",
    },
    "aggregator": {
        "mean": "nnray.federated.aggregation.coordinates:mean",
        "median": "nnray.federated.aggregation.coordinates:median",
        "trimmed_mean": "nnray.federated.aggregation.coordinates:trimmed_mean",
        "geometric_median": "nnray.federated.aggregation.geometric:geometric_median",
        "krum": "nnray.federated.aggregation.krum:krum",
        "multi_krum": "nnray.federated.aggregation.krum:multi_krum",
        "bulyan": "nnray.federated.aggregation.krum:bulyan",
        "norm_clip": "nnray.federated.aggregation.norms:norm_clip",
        "centered_clip": "nnray.federated.aggregation.norms:centered_clip",
        "fltrust": "nnray.federated.aggregation.norms:fltrust",
    },
    "client_attack": {
        "label_flip": "nnray.federated.attacks.data:label_flip",
        "backdoor": "nnray.federated.attacks.data:backdoor",
        "sign_flip": "nnray.federated.attacks.local:sign_flip",
        "gaussian": "nnray.federated.attacks.local:gaussian",
        "scale": "nnray.federated.attacks.local:scale",
        "alie": "nnray.federated.attacks.colluding:alie",
        "inner_product": "nnray.federated.attacks.colluding:inner_product",
    },
}
