"""The options that several commands share: what they are called and what they mean."""

from pathlib import Path
from typing import Annotated

import typer

Images = Annotated[
    list[str], typer.Argument(help="Image files, or scene:SEED for a generated picture.", show_default=False)
]
LayerOption = Annotated[str | None, typer.Option("--layer", help="The layer to explain, by dotted name.")]
WordMethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="How maps are made; by default occlusion for the bundled captioner (experiment 16), else gradcam.",
        show_default=False,
    ),
]
MethodOption = Annotated[
    str, typer.Option("--method", help="gradcam, counterfactual, hirescam, layercam, gradcam++ or xgradcam.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder for report.html, pictures and saved explanations.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a summary.")]
ContrastOption = Annotated[
    list[str] | None,
    typer.Option("--contrast", help="THIS:THAT explains this rather than that; may be given several times."),
]
TopOption = Annotated[int, typer.Option("--top", min=1, help="How many the model names by itself.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="torchvision/NAME, timm/NAME, a folder or hub id of transformers, or a state dict (with --arch); see: vlcam models.",
    ),
]
ArchOption = Annotated[
    str | None, typer.Option("--arch", help="What the state dict is the state of, such as torchvision/resnet50.")
]
NamedModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="classifier, captioner or vqa, torchvision/NAME, timm/NAME, a folder or hub id of transformers, or a state dict (--arch).",
    ),
]
ProbeOption = Annotated[
    str,
    typer.Option(
        "--probe",
        help="scenes:SPLIT:N; a folder with a subfolder per class; a photo folder (with --labels and --concepts, or with --words and "
        "--encoder); COCO's instances JSON; a Pascal VOC or Broden folder.",
    ),
]
NamesOption = Annotated[
    Path | None,
    typer.Option(
        "--names", help="A file of names (or a folder with names.json): vlcam's, NetDissect's or CLIP-Dissect's."
    ),
]
TaskOption = Annotated[
    str | None, typer.Option("--task", help="What a model that can do more shall do: captioning or vqa.")
]
QuestionOption = Annotated[str | None, typer.Option("--question", help="What a question answerer is asked meanwhile.")]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="Folder of label maps (PNG) for a photo folder.")]
ConceptsOption = Annotated[
    Path | None, typer.Option("--concepts", help="File that says what the numbers of label maps mean (JSON or text).")
]
WordsOption = Annotated[Path | None, typer.Option("--words", help="Text file with a word a line, for --encoder.")]
EncoderOption = Annotated[
    str | None, typer.Option("--encoder", help="Image-text encoder of transformers that compares photos and words.")
]
SplitOption = Annotated[str | None, typer.Option("--split", help="Split of scenes, Pascal VOC or Broden.")]
PicturesOption = Annotated[int | None, typer.Option("--n", min=2, help="How many pictures of the probe to use.")]
ScorerOption = Annotated[
    str | None, typer.Option("--scorer", help="iou, auprc or correlation; with words soft-wpmi or www.")
]
QuantileOption = Annotated[float, typer.Option("--quantile", help="Share of positions at which a channel fires.")]
MinScoreOption = Annotated[float | None, typer.Option("--min-score", help="The least score of a name.")]
PermutationsOption = Annotated[int, typer.Option("--permutations", min=19, help="Draws of the test against chance.")]
BootstrapOption = Annotated[int, typer.Option("--bootstrap", min=0, help="Samples for the names' stability.")]
FormulaOption = Annotated[int, typer.Option("--length", min=1, max=3, help="Most concepts in a formula; 1: none.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
MaskSizeOption = Annotated[int | None, typer.Option("--mask-size", min=2, help="Cells a side to compare labels on.")]
HypernymsOption = Annotated[bool, typer.Option("--hypernyms", help="Also try what concepts are kinds of.")]
WordnetOption = Annotated[bool, typer.Option("--wordnet", help="Use the WordNet of nltk, if it is on this machine.")]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Pictures in one forward pass.")]
CacheOption = Annotated[Path | None, typer.Option("--cache", help="Folder to keep the layer's maps in.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="Where to run it, such as cuda; by default the CPU.")
]
MeasureOption = Annotated[
    str, typer.Option("--measure", help="Explain each word's log-probability, or its logit if that is nearly certain.")
]
GainOption = Annotated[
    str | None, typer.Option("--gain", help="Also score the words without the image: blank, or blur.")
]
VerifyOption = Annotated[
    bool, typer.Option("--verify", help="Test every map against 200 random regions of its size and shape.")
]
DtypeOption = Annotated[
    str | None, typer.Option("--dtype", help="float32, float16 or bfloat16; by default as the weights are.")
]
RevisionOption = Annotated[str | None, typer.Option("--revision", help="A branch, tag or commit of a hub model.")]
PromptOption = Annotated[
    str | None, typer.Option("--prompt", help="What a model that writes is told first; {} stands for the question.")
]
LengthOption = Annotated[
    int, typer.Option("--length", min=1, max=1000, help="How many tokens a model of yours says at most.")
]
RankingOption = Annotated[
    str, typer.Option("--ranking", help="Neurons by contribution in this image, or as in the paper by alpha.")
]
