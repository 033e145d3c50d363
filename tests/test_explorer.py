"""The report's explorer in a real browser, opened from disk: its figures are NumPy's, and it fetches nothing.

Pages are of two tiny networks, of one alone, and of the repository.
"""

import base64
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from experiments import explorer, report
from experiments.claims import Claim, Picture
from experiments.network import open_networks
from lsg_jax import load_run, metrics
from lsg_jax.analysis.filters import logit_shares, spotlight, top_images

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver")
HOSTILE = "<script>document.title = 'taken'</script>"
RUNS = Path(__file__).parents[1] / "results" / "runs"
WIDE = "alexnet-fixed"  # a pair with 256 filters each: the largest page there is
every_page = pytest.mark.parametrize("page", ["pair", "alone", WIDE, "resnet20"], indirect=True)


class Explored(NamedTuple):
    """What a network's figures in the page follow from: features and labels are those of the explored images."""

    name: str
    features: np.ndarray
    labels: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    gate: np.ndarray


class Page(NamedTuple):
    file: Path
    explored: list[Explored]


def of_network(network):
    """The images that the page holds, as the explorer says it chooses them."""
    places = [np.flatnonzero(network.labels == each)[: explorer.IMAGES_PER_CLASS] for each in range(10)]
    images = np.sort(np.concatenate(places))
    return Explored(network.name, network.features[images], network.labels[images], *network.linear, network.gate)


def of_repository(file):
    """Features, labels and a gate that was solved for as the page holds them, all else from the checkpoints."""
    content = json.loads(re.search(r'class="data">(.*)</script>', file.read_text())[1])
    for held in content["networks"]:
        run = load_run(RUNS / held["name"])
        kernel, bias = (np.asarray(run.params["classifier"][part]) for part in ("kernel", "bias"))
        features, gate = (np.frombuffer(base64.b64decode(held[each]), "<f4") for each in ("features", "gate"))
        gate = gate.reshape(kernel.T.shape) if run.config.gate == "none" else np.asarray(run.gate)
        yield Explored(held["name"], features.reshape(-1, len(kernel)), np.array(content["labels"]), kernel, bias, gate)


def figure():
    drawn = Figure()
    drawn.subplots().imshow(np.arange(12).reshape(3, 4))
    return drawn


@pytest.fixture(scope="module")
def networks(runs):
    return open_networks(runs / "learned", runs / "none", None)


@pytest.fixture(scope="module")
def page(request, networks, tmp_path_factory):
    name = getattr(request, "param", "pair")
    if name not in ("pair", "alone"):
        if not RUNS.is_dir():
            pytest.skip("no runs are committed")
        file = RUNS / name / "report.html"
        return Page(file, list(of_repository(file)))
    shown = networks if name == "pair" else networks[:1]
    file = tmp_path_factory.mktemp("page") / "report.html"
    pictures = {"picture": Picture(figure, "", {})}
    file.write_text(report.page(shown, [Claim(f"claim{i}", f"Claim {i}", "", {}, pictures) for i in range(10)]))
    return Page(file, list(map(of_network, shown)))


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        options.add_argument(f"--{argument}")
    for argument in ("disable-component-update", "disable-sync", "disable-quic", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as driver:
        yield driver


@pytest.fixture
def opened(browser, page):
    browser.get_log("performance")
    browser.get(page.file.as_uri())
    browser.implicitly_wait(10)
    assert browser.find_element(By.CSS_SELECTOR, ".pictures figure")
    return browser


def accuracies(explored, on):
    """The figures by NumPy: of all explored images and of each class."""
    right = (explored.features * on @ explored.kernel + explored.bias).argmax(1) == explored.labels
    return [right.mean(), *(right[explored.labels == each].mean() for each in range(10))]


def shown(article, which="now"):
    """The same figures from the page, as they are now or with all filters."""
    _, now, _, _, _, before, *_ = article.find_element(By.CLASS_NAME, "accuracy").text.split()
    rows = article.find_elements(By.CSS_SELECTOR, ".classes tr")
    place = [head.text for head in rows[0].find_elements(By.TAG_NAME, "th")].index(which) - 1
    overall = {"now": now.rstrip(","), "all filters": before.rstrip(";")}[which]
    return [float(overall), *(float(row.find_elements(By.TAG_NAME, "td")[place].text) for row in rows[1:])]


def of_filters(article, what):
    """What the buttons of the filters have, all at once: one by one takes seconds where there are hundreds."""
    read = f"return [...arguments[0].querySelectorAll('.filters button')].map((button) => {what})"
    return article.parent.execute_script(read, article)


@needs_browser
@every_page
def test_it_opens_from_disk_without_a_request_or_an_error(opened, page):
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = {each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"}
    assert page.file.as_uri() in asked
    assert all(url == page.file.as_uri() or url.startswith("data:") for url in asked)
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []
    widths = opened.execute_script("return [...document.images].map((image) => image.naturalWidth)")
    assert len(widths) >= 10
    assert min(widths) > 0


@needs_browser
@every_page
def test_filters_are_switched_by_mouse_and_by_keys_and_the_accuracies_are_numpys(opened, page):
    articles = opened.find_elements(By.TAG_NAME, "article")
    for article, explored in zip(articles, page.explored, strict=True):
        assert article.find_element(By.TAG_NAME, "h3").text == explored.name
        count = len(explored.kernel)
        all_on, on = np.ones(count, bool), np.ones(count, bool)
        np.testing.assert_allclose(shown(article), accuracies(explored, on), atol=1e-4)
        buttons = article.find_elements(By.CSS_SELECTOR, ".filters button")
        buttons[2].click()
        buttons[0].send_keys(Keys.SPACE)
        on[[0, 2]] = False
        assert of_filters(article, "button.getAttribute('aria-pressed') === 'true'") == on.tolist()
        np.testing.assert_allclose(shown(article), accuracies(explored, on), atol=1e-4)
        np.testing.assert_allclose(shown(article, "all filters"), accuracies(explored, all_on), atol=1e-4)
        assert f"; {count - 2} of {count} filters on" in article.find_element(By.CLASS_NAME, "accuracy").text
        article.find_element(By.CLASS_NAME, "on").send_keys(Keys.ENTER)
        np.testing.assert_allclose(shown(article), accuracies(explored, all_on), atol=1e-4)


@needs_browser
def test_arrow_keys_lead_through_the_filters_and_tab_past_them(opened):
    article = opened.find_element(By.TAG_NAME, "article")
    buttons = article.find_elements(By.CSS_SELECTOR, ".filters button")
    article.find_element(By.CLASS_NAME, "on").click()
    for keys, focused in (
        ((Keys.TAB,), buttons[0]),
        ((Keys.ARROW_LEFT,), buttons[0]),
        ((Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT), buttons[3]),
        ((Keys.ARROW_LEFT, Keys.SPACE), buttons[2]),
        ((Keys.TAB,), article.find_element(By.CSS_SELECTOR, "select.filter")),
    ):
        webdriver.ActionChains(opened).send_keys(*keys).perform()
        assert opened.switch_to.active_element == focused
    webdriver.ActionChains(opened).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    assert opened.switch_to.active_element == buttons[2]
    assert [each.get_attribute("aria-pressed") for each in buttons] == ["true", "true", "false", "true"]


@needs_browser
@every_page
def test_the_filters_of_the_chosen_class_are_switched_off(opened, page):
    chosen = int(page.explored[0].gate.argmax(axis=0)[0])
    choice = Select(opened.find_element(By.CSS_SELECTOR, "select.class"))
    choice.select_by_index(chosen)
    for article, explored in zip(opened.find_elements(By.TAG_NAME, "article"), page.explored, strict=True):
        colors = of_filters(article, "Number(button.style.getPropertyValue('--gate'))")
        np.testing.assert_allclose(colors, explored.gate[chosen], atol=1e-6)
        off = article.find_element(By.CLASS_NAME, "off")
        assert off.text == f"Switch off the filters of {choice.options[chosen].text}"
        off.click()
        np.testing.assert_allclose(shown(article), accuracies(explored, explored.gate[chosen] <= 0.5), atol=1e-4)


@needs_browser
@pytest.mark.parametrize("page", [WIDE, "resnet20"], indirect=True)
def test_a_page_of_the_repository_agrees_with_its_report_and_its_checkpoints(opened, page):
    numbers = json.loads(page.file.with_name("report.json").read_text())["claims"]["masking"]["numbers"]
    for article, explored in zip(opened.find_elements(By.TAG_NAME, "article"), page.explored, strict=True):
        count, removed = len(explored.kernel), numbers[explored.name]["without filters of airplane"]["filters removed"]
        article.find_element(By.CLASS_NAME, "off").click()
        assert f"; {count - removed} of {count} filters on" in article.find_element(By.CLASS_NAME, "accuracy").text
        Select(article.find_element(By.CSS_SELECTOR, "select.filter")).select_by_visible_text(str(count - 1))
        correlation = metrics.filter_correlation(np.asarray(load_run(RUNS / explored.name).last_kernel))[-1]
        nearest = np.argsort(-correlation[:-1])[: explorer.NEAREST]
        neighbours = article.find_elements(By.CSS_SELECTOR, ".nearest button")
        assert [int(each.text.split()[0]) for each in neighbours] == nearest.tolist()
        figures = [float(each.text.split()[1].strip("()")) for each in neighbours]
        np.testing.assert_allclose(figures, correlation[nearest], atol=1e-4)


@needs_browser
def test_class_and_filter_are_chosen_and_the_class_switched_off_by_keys_alone(opened, page, networks):
    def press(*keys):
        webdriver.ActionChains(opened).send_keys(*keys).perform()

    article, network = opened.find_element(By.TAG_NAME, "article"), networks[0]
    for _ in range(30):  # from the top of the page, whatever comes before
        press(Keys.TAB)
        if opened.switch_to.active_element.get_attribute("class") == "class":
            break
    press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    off = article.find_element(By.CLASS_NAME, "off")
    assert off.text == f"Switch off the filters of {network.run.class_names[2]}"
    press(Keys.TAB)
    assert opened.switch_to.active_element == off
    press(Keys.ENTER)
    np.testing.assert_allclose(shown(article), accuracies(page.explored[0], network.gate[2] <= 0.5), atol=1e-4)
    press(Keys.TAB, Keys.TAB, Keys.TAB)
    assert opened.switch_to.active_element == article.find_element(By.CSS_SELECTOR, "select.filter")
    press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    (first, *_) = article.find_elements(By.CSS_SELECTOR, ".column tr")[1:]
    assert abs(float(first.find_element(By.TAG_NAME, "td").text) - network.gate[0, 2]) < 1e-4


@needs_browser
def test_a_filter_shows_its_gate_its_shares_its_images_and_its_neighbours(opened, networks):
    for article, network in zip(opened.find_elements(By.TAG_NAME, "article"), networks, strict=True):
        choice = Select(article.find_element(By.CSS_SELECTOR, "select.filter"))
        choice.select_by_index(3)
        rows = article.find_elements(By.CSS_SELECTOR, ".column tr")[1:]
        column = [[float(cell.text) for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]
        shares = logit_shares(network.features, network.labels, network.linear[0])
        np.testing.assert_allclose(column, np.stack([network.gate[:, 3], shares[3]], axis=1), atol=1e-4)
        captions = [each.text for each in article.find_elements(By.TAG_NAME, "figcaption")]
        names, top = network.run.class_names, np.argsort(-network.features[:, 3], kind="stable")[: len(captions)]
        assert captions == [f"{names[network.labels[each]]}, {network.features[each, 3]:.4f}" for each in top]
        neighbours = article.find_elements(By.CSS_SELECTOR, ".nearest button")
        others = sorted({0, 1, 2}, key=lambda each: -network.correlation[3, each])
        assert [each.text for each in neighbours] == [f"{k} ({network.correlation[3, k]:.4f})" for k in others]
        neighbours[0].send_keys(Keys.ENTER)
        assert choice.first_selected_option.text == str(others[0])
        assert opened.switch_to.active_element == article.find_element(By.CSS_SELECTOR, "select.filter")


@needs_browser
def test_a_filters_pictures_are_its_images_bright_where_it_is_active(opened, networks):
    read = "return [...arguments[0].getContext('2d').getImageData(0, 0, 80, 80).data]"
    for article, network in zip(opened.find_elements(By.TAG_NAME, "article"), networks, strict=True):
        top = top_images(network.features, 6)[0]
        maps = network.run.feature_maps(network.images[top])[..., 0]
        lit = spotlight(network.images[top], maps)[..., 0].astype(float)
        canvases = article.find_elements(By.CSS_SELECTOR, ".pictures canvas")
        assert len(canvases) == 6
        for canvas, expected in zip(canvases, lit, strict=True):
            pixels = np.reshape(opened.execute_script(read, canvas), (80, 80, 4))[..., 0]
            blocks = pixels.reshape(16, 5, 16, 5).mean(axis=(1, 3))
            assert np.abs(blocks - expected).mean() < 12  # of 255: a JPEG, and another interpolation
            assert np.corrcoef(blocks.ravel(), expected.ravel())[0, 1] > 0.97


@needs_browser
@every_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_light_and_dark(opened, page, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    phone = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        across = opened.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert across[0] <= across[1] == 380
        article, explored = opened.find_element(By.TAG_NAME, "article"), page.explored[0]
        article.find_element(By.CLASS_NAME, "off").click()
        np.testing.assert_allclose(shown(article), accuracies(explored, explored.gate[0] <= 0.5), atol=1e-4)
        opened.execute_script("window.scrollTo(0, 0)")
        pixels = np.asarray(Image.open(io.BytesIO(opened.get_screenshot_as_png())).convert("L"))
        paper, ink = np.median(pixels), (pixels.min() if scheme == "light" else pixels.max())
        assert paper > 230 if scheme == "light" else paper < 40
        assert abs(float(ink) - paper) > 180
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_reports_are_under_five_megabytes():
    if not RUNS.is_dir():
        pytest.skip("no runs are committed")
    sizes = [page.stat().st_size for page in RUNS.glob("*/report.html")]
    assert 0 < max(sizes) < 5e6


def test_a_page_has_its_figures_pixel_by_pixel(networks):
    text = report.page(networks[:1], [Claim("claim", "", "", {}, {"picture": Picture(figure, "", {})})])
    (encoded,) = re.findall(r'src="data:image/webp;base64,(.*?)"', text)
    with io.BytesIO() as expected, io.BytesIO(base64.b64decode(encoded)) as content:
        figure().savefig(expected, dpi=110)
        np.testing.assert_array_equal(*(Image.open(each).convert("RGBA") for each in (content, expected)))


def wide(tiny, images, maps):
    """A network of 256 filters and the tiny one's classes."""
    rng = np.random.default_rng(len(images))
    run = SimpleNamespace(
        feature_maps=lambda images: np.broadcast_to(maps[..., None], (len(images), *maps.shape, 256)),
        config=tiny.run.config,
        class_names=tiny.run.class_names,
    )
    return SimpleNamespace(
        name="wide",
        run=run,
        images=images,
        labels=np.arange(len(images)) % 10,
        features=rng.random((len(images), 256)),
        linear=(rng.normal(size=(256, 10)), rng.normal(size=10)),
        correlation=np.eye(256),
        gate=np.ones((10, 256)),
    )


def picture_of(sheet):
    return Image.open(io.BytesIO(base64.b64decode(sheet["picture"].removeprefix("data:image/jpeg;base64,"))))


def test_a_page_of_wide_networks_holds_a_few_hundred_images(networks):
    content = explorer.content_of([wide(networks[0], networks[0].images, np.ones((8, 8)))] * 2)
    assert len(content["labels"]) == 250
    assert np.shape(content["networks"][0]["top"]) == (256, 4)
    assert len(json.dumps(content["networks"])) < 1.5e6


def test_a_page_of_large_images_stays_under_five_megabytes(networks):
    images = np.random.default_rng(0).integers(0, 256, (500, 224, 224, 3), np.uint8)
    content = explorer.content_of([wide(networks[0], images, np.ones((56, 56)))] * 2)
    assert len(json.dumps(content)) < 5e6


def test_large_images_and_maps_are_shown_small(networks):
    images, half = np.empty((50, 224, 100, 3), np.uint8), np.zeros((56, 30))
    images[:], half[:, :15] = 5 * np.arange(50).reshape(-1, 1, 1, 1), 2
    content = explorer.content_of([wide(networks[0], images, half)])
    sheet, network = content["sheet"], content["networks"][0]
    assert (sheet["height"], sheet["width"], sheet["columns"]) == (80, 80, 8)
    picture = np.asarray(picture_of(sheet))
    for index in range(50):
        row, column = divmod(index, 8)
        seen = picture[80 * row : 80 * row + 80, 80 * column : 80 * column + 80]
        np.testing.assert_allclose(seen.astype(int), 5 * index, atol=2)
    maps = np.frombuffer(base64.b64decode(network["maps"]), np.uint8).reshape(-1, *network["map size"])
    assert network["map size"] == [16, 16]
    np.testing.assert_array_equal(maps, np.broadcast_to(255 * (np.arange(16) < 8), maps.shape))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGB"), (5, "RGB")])
def test_images_of_any_number_of_channels_are_explored(networks, channels, mode):
    images = np.full((20, 8, 8, channels), 100, np.uint8)
    images[..., 1:3], images[..., 3:] = 200, 0
    sheet = explorer.content_of([wide(networks[0], images, np.ones((8, 8)))])["sheet"]
    picture = picture_of(sheet)
    assert picture.mode == mode
    np.testing.assert_allclose(picture.getpixel((0, 0)), (100, 200, 200) if mode == "RGB" else 100, atol=2)


@needs_browser
def test_a_class_name_is_text(browser, networks, tmp_path):
    content = explorer.content_of(networks)
    content["classes"][0] = HOSTILE
    file = tmp_path / "hostile.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer, "content_of", lambda _: content)
        file.write_text(report.page(networks, []))
    browser.get(file.as_uri())
    assert browser.find_element(By.CSS_SELECTOR, ".pictures figure")
    assert browser.title == "learned against none"
    assert browser.find_element(By.CSS_SELECTOR, ".classes th[scope=row]").text == HOSTILE
