"""Features by thingsvision's extractor, for bench/tasks/features.py: runs in .venv/bench, by `bench.elsewhere`.

Pictures are resized to `size` by transforms given here: thingsvision ignores the size that is asked of timm's models.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from thingsvision import get_extractor
from thingsvision.utils.data import DataLoader, ImageDataset
from torchvision import transforms

from bench.elsewhere import serve


def main(result: str, folder: str, weights: str, size: str, batch: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    extractor = get_extractor("tf_efficientnet_lite0", source="timm", device="cpu", pretrained=False)
    extractor.model.load_state_dict(torch.load(weights), strict=False)
    resized = transforms.Resize((int(size), int(size)), transforms.InterpolationMode.BICUBIC)
    prepared = transforms.Compose([resized, transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])

    def features() -> np.ndarray:
        data = ImageDataset(root=folder, out_path=result + ".d", backend="pt", transforms=prepared)
        loader = DataLoader(dataset=data, batch_size=int(batch), backend="pt")
        return extractor.extract_features(batches=loader, module_name="global_pool", flatten_acts=True)

    serve(features, Path(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
