"""What the experiments are run on: the bundled world, ILSVRC, Pascal VOC, COCO, VQA v2 and VQA-HAT."""

__all__: list[str] = []
