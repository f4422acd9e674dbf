"""The bundled models on a generated picture: every word of a caption, an answer and the classes, each with its named neurons."""

import vlcam
from vlcam.tasks import bundled


def main() -> None:
    scene = vlcam.scenes.make(7)
    photo = scene.image(384)
    caption = vlcam.explain(bundled.captioner(), photo)
    print(caption.text)
    for word in caption:
        sentence = word.neurons.sentence if word.neurons else ""
        print(f"  {word.label:10} p = {word.target.probability:.2f}  {sentence}")
    question = scene.questions(1)[0]
    answer = vlcam.explain(bundled.vqa(), photo, question=question.text)
    print(f"{question.text}? {answer.text} (truth: {question.answer})")
    classes = vlcam.explain(bundled.classifier(), photo)
    print("classes:", ", ".join(f"{one.label} {one.target.probability:.2f}" for one in classes))


if __name__ == "__main__":
    main()
