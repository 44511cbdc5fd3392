//! A page in a browser that runs without a screen.

use std::time::{Duration, Instant};

use chromiumoxide::cdp::browser_protocol::emulation::{
    MediaFeature, SetDeviceMetricsOverrideParams, SetEmulatedMediaParams,
};
use chromiumoxide::cdp::browser_protocol::page::CaptureScreenshotFormat;
use chromiumoxide::page::ScreenshotParams;
use chromiumoxide::{Browser, BrowserConfig, Page};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::demo::Demo;

const PATIENCE: Duration = Duration::from_secs(15);

/// Notes what the policy of a page forbade it, and what its script failed at.
const NOTES: &str = "window.noted = []; \
    addEventListener('securitypolicyviolation', (e) => noted.push(`${e.violatedDirective} ${e.blockedURI}`)); \
    addEventListener('error', (e) => noted.push(String(e.message)));";

/// A page of the demo service.
pub(crate) struct Tab {
    pub(crate) page: Page,
    base: String,
    _browser: Browser,
    _profile: TempDir,
}

impl Tab {
    /// A browser with a page of the service, which is served as long as the test lasts.
    pub(crate) async fn open(demo: &Demo) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/engine/", listener.local_addr().unwrap());
        let router = demo.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let profile = TempDir::new().unwrap();
        let config = BrowserConfig::builder()
            .chrome_executable(cloacina_testing::browser::chromium().unwrap())
            .user_data_dir(profile.path())
            .no_sandbox()
            .new_headless_mode()
            .arg("--disable-gpu")
            .viewport(None)
            .window_size(1280, 900)
            .launch_timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        let (browser, mut events) = Browser::launch(config).await.unwrap();
        tokio::spawn(async move { while events.next().await.is_some() {} });
        let page = browser.new_page("about:blank").await.unwrap();
        page.evaluate_on_new_document(NOTES).await.unwrap();
        Self { page, base, _browser: browser, _profile: profile }
    }

    /// Goes to a page, by its way from the root.
    pub(crate) async fn goto(&self, page: &str) {
        self.page.goto(format!("{}{page}", self.base)).await.unwrap();
    }

    /// What an expression comes to on the page.
    pub(crate) async fn value<T: DeserializeOwned>(&self, expression: &str) -> T {
        // A page that is left in the middle of it is asked again.
        let begun = Instant::now();
        loop {
            let evaluated = self.page.evaluate_expression(expression).await;
            match evaluated
                .map_err(|error| error.to_string())
                .and_then(|value| value.into_value().map_err(|error| error.to_string()))
            {
                Ok(value) => return value,
                Err(error) if begun.elapsed() > PATIENCE => panic!("`{expression}`: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Looks until this holds on the page.
    pub(crate) async fn until(&self, condition: &str) {
        let begun = Instant::now();
        while !self.value::<bool>(&format!("!!({condition})")).await {
            if begun.elapsed() > PATIENCE {
                let text: String =
                    self.value("document.location.href + '\\n' + document.body.innerText").await;
                panic!("it did not come to `{condition}` on {text}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the page says this anywhere that can be seen.
    pub(crate) async fn says(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", quoted(text))).await;
    }

    /// Clicks with the mouse on what a selector finds.
    pub(crate) async fn click(&self, selector: &str) {
        self.until(&format!("document.querySelector({})", quoted(selector))).await;
        self.page.find_element(selector).await.unwrap().click().await.unwrap();
    }

    /// Clicks with the mouse on the button or link with these words, in the question if one is asked.
    pub(crate) async fn press(&self, words: &str) {
        let found = format!(
            "(() => {{ const all = [...(document.querySelector('dialog[open]') ?? document).querySelectorAll('a, button')]; \
             const it = all.find((e) => e.textContent.trim() === {} && !e.disabled); \
             const is_ready = it && document.readyState === 'complete'; \
             if (is_ready) it.setAttribute('data-test', 'press'); return !!is_ready; }})()",
            quoted(words)
        );
        // A part of the page may be drawn anew between the look and the click.
        for _ in 0..20 {
            self.until(&found).await;
            let Ok(button) = self.page.find_element("[data-test=press]").await else { continue };
            if button.click().await.is_ok() {
                break;
            }
        }
        let unmark = "document.querySelector('[data-test=press]')?.removeAttribute('data-test')";
        _ = self.page.evaluate_expression(unmark).await;
    }

    /// Writes into a field of the question, or of the page.
    pub(crate) async fn write(&self, name: &str, text: &str) {
        let selector = format!("dialog[open] [name={name}]");
        let selector =
            if self.value::<bool>(&format!("!!document.querySelector({})", quoted(&selector))).await {
                selector
            } else {
                format!("[name={name}]")
            };
        self.until(&format!("document.querySelector({})", quoted(&selector))).await;
        _ = self
            .value::<bool>(&format!("(document.querySelector({}).value = '', true)", quoted(&selector)))
            .await;
        let field = self.page.find_element(selector).await.unwrap();
        field.click().await.unwrap();
        field.type_str(text).await.unwrap();
    }

    /// Chooses an option of a field of the question, or of the page.
    pub(crate) async fn choose(&self, name: &str, value: &str) {
        let chosen = format!(
            "(() => {{ const it = document.querySelector('dialog[open] select[name={name}]') ?? document.querySelector('select[name={name}]'); \
             if (it) it.value = {value}; return it?.value === {value}; }})()",
            value = quoted(value)
        );
        self.until(&chosen).await;
    }

    /// Answers the question that is asked with its reason.
    pub(crate) async fn confirm(&self, words: &str) {
        self.until("document.querySelector('dialog[open] [name=reason]')").await;
        self.write("reason", "a test").await;
        self.press(words).await;
    }

    /// What the policy of the page forbade, and what its script failed at.
    pub(crate) async fn noted(&self) -> Vec<String> {
        self.value("window.noted ?? []").await
    }

    pub(crate) async fn wide(&self, width: i64) {
        self.page.execute(SetDeviceMetricsOverrideParams::new(width, 900, 1.0, width < 600)).await.unwrap();
    }

    pub(crate) async fn theme(&self, theme: &str) {
        let feature = MediaFeature::new("prefers-color-scheme", theme);
        let media = SetEmulatedMediaParams::builder().features([feature]).build();
        self.page.execute(media).await.unwrap();
    }

    /// Keeps a picture of the page, if `CLOACINA_PICTURES` names a directory.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(directory) = std::env::var_os("CLOACINA_PICTURES") else { return };
        let file = std::path::Path::new(&directory).join(format!("{name}.png"));
        let format = ScreenshotParams::builder().format(CaptureScreenshotFormat::Png).full_page(true).build();
        self.page.save_screenshot(format, file).await.unwrap();
    }
}

/// A text as it stands in a script.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}
