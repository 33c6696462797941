//! A real OpenBao server on loopback: TLS, in memory, unsealed, with its root token at hand. It ends when it is dropped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::command::{run, signal};
use super::pki::Pki;
use super::{have, until};

/// The server.
pub struct Bao {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
    root: String,
    unseal: String,
}

/// Where the program is: named by `tests/all`, installed by it before, or on the path.
pub fn program() -> PathBuf {
    let installed = || {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("openbao-venv/bin/bao");
        program.is_file().then_some(program)
    };
    let on_path = || {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|it| it.join("bao"))
            .find(|it| it.is_file())
    };
    let named = std::env::var_os("KEYGATE_TEST_BAO").map(PathBuf::from);
    named.or_else(installed).or_else(on_path).unwrap_or_else(|| "bao".into())
}

impl Bao {
    /// Starts one; `None` when the program is not there and need not be.
    pub fn start() -> Option<Self> {
        let program = program();
        if !have("bao", program.is_file()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new();
        let leaf = pki.leaf(&["localhost", "127.0.0.1"]);
        for (name, text) in [("ca.pem", pki.ca_pem()), ("server.pem", &leaf.certificate), ("server.key", &leaf.key)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "storage \"inmem\" {{}}\napi_addr = \"https://localhost:{port}\"\nlog_level = \"warn\"\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_cert_file = \"server.pem\"\n  tls_key_file = \"server.key\"\n}}\n"
        );
        fs::write(folder.path().join("bao.hcl"), config).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(["server", "-config", "bao.hcl"]).current_dir(&folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut bao = Self { folder, child, port, root: String::new(), unseal: String::new() };
        bao.open();
        Some(bao)
    }

    fn open(&mut self) {
        until("an answer of the OpenBao server", || (self.status() != 0).then_some(()));
        let made = self.api("PUT", "sys/init", &json!({"secret_shares": 1, "secret_threshold": 1}));
        made["root_token"].as_str().unwrap().clone_into(&mut self.root);
        made["keys_base64"][0].as_str().unwrap().clone_into(&mut self.unseal);
        self.unseal();
        self.api("POST", "sys/mounts/secret", &json!({"type": "kv", "options": {"version": "2"}}));
        let rules = "path \"secret/data/keygate/*\" { capabilities = [\"read\"] }\n\
                     path \"secret/metadata/keygate/*\" { capabilities = [\"read\"] }";
        self.api("POST", "sys/policies/acl/keygate", &json!({"policy": rules}));
        // A fresh engine of version 2 takes a moment.
        until("the KV engine", || self.try_api("POST", "secret/data/first", &json!({"data": {"a": "b"}})).ok());
    }

    /// Its health: 200, 503 while it is sealed, 0 while it does not answer.
    pub fn status(&self) -> u16 {
        self.curl("GET", "sys/health", None).0
    }

    /// Where it is.
    pub fn address(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Its root token.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Whom it was signed by.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A file beside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a file with a secret beside it.
    pub fn secret_file(&self, name: &str, secret: &str) -> PathBuf {
        let path = self.path(name);
        private(&path, secret.as_bytes());
        path
    }

    /// Asks as root, and fails when it says no.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_api(method, path, body).unwrap_or_else(|why| panic!("{method} {path}: {why}"))
    }

    /// Asks as root.
    pub fn try_api(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let (status, text) = self.curl(method, path, Some(body));
        let answer = if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        if (200..300).contains(&status) { Ok(answer) } else { Err(format!("{status} {text}")) }
    }

    /// Asks as root for an answer that is wrapped; the wrapping token.
    pub fn wrapped(&self, path: &str) -> String {
        let url = format!("{}/v1/{path}", self.address());
        let token = format!("x-vault-token: {}", self.root);
        let mut command = Command::new("curl");
        command.args(["-sS", "--cacert"]).arg(self.ca()).args([
            "-X",
            "POST",
            "-H",
            &token,
            "-H",
            "x-vault-wrap-ttl: 300s",
        ]);
        command.args(["-d", r#"{"a":"b"}"#, &url]);
        let answer: Value = serde_json::from_str(&run(command, b"").ok()).unwrap();
        answer["wrap_info"]["token"].as_str().unwrap().to_owned()
    }

    fn curl(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let url = format!("{}/v1/{path}", self.address());
        let token = format!("x-vault-token: {}", self.root);
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "10", "--cacert"]).arg(self.ca());
        command.args(["-X", method, "-H", &token, "-w", "\n%{http_code}"]);
        let body = body.filter(|body| !body.is_null()).map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            command.args(["--data-binary", "@-"]);
        }
        command.arg(&url);
        let ran = run(command, body.as_bytes());
        let (text, status) = ran.stdout.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or(0), text.to_owned())
    }

    /// Stores a credential.
    pub fn put(&self, path: &str, fields: &Value) {
        self.api("POST", &format!("secret/data/{path}"), &json!({ "data": fields }));
    }

    /// Locks it: it answers 503 to everything until it is unsealed.
    pub fn seal(&self) {
        self.api("PUT", "sys/seal", &Value::Null);
        until("a sealed server", || (self.status() == 503).then_some(()));
    }

    /// Opens it.
    pub fn unseal(&self) {
        self.api("PUT", "sys/unseal", &json!({"key": self.unseal}));
        until("an unsealed server", || (self.status() == 200).then_some(()));
    }

    /// Stops or continues its process: it takes connections and answers nothing.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Ends it.
    pub fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// An approle with the policy `keygate`: its role's id and a secret id.
    pub fn approle(&self, settings: &Value) -> (String, String) {
        self.approle_only(settings);
        let role_id = self.api("GET", "auth/approle/role/keygate/role-id", &Value::Null);
        let secret_id = self.api("POST", "auth/approle/role/keygate/secret-id", &json!({}));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&role_id["data"]["role_id"]), text(&secret_id["data"]["secret_id"]))
    }

    fn approle_only(&self, settings: &Value) {
        self.api("POST", "sys/auth/approle", &json!({"type": "approle"}));
        let mut role = json!({"token_policies": "keygate"});
        role.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        self.api("POST", "auth/approle/role/keygate", &role);
    }
}

/// A file that its owner alone may read.
pub fn private(path: &Path, contents: &[u8]) {
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- OpenBao\n{}", fs::read_to_string(self.path("log")).unwrap_or_default());
        }
    }
}
