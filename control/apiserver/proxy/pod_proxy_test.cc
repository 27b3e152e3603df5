// kubectl, a real API server, the kubelet's real server, and a runtime whose containers are this machine's processes.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "control/apiserver/handler.h"
#include "control/apiserver/proxy/pod_proxy.h"
#include "control/apiserver/registry/api.h"
#include "control/http/server.h"
#include "control/http/test_client.h"
#include "control/kubelet/server/server.h"
#include "control/kubelet/server/test_runtime.h"
#include "control/pki/kubeconfig.h"
#include "control/pki/pki.h"
#include "control/store/store.h"

namespace sluice::apiserver {
namespace {

namespace fs = std::filesystem;

template <class T>
T must(Result<T> result) {
    if (!result) {
        fmt::print(stderr, "{}\n", result.error().to_string());
        std::abort();
    }
    return std::move(*result);
}

struct Outcome {
    int code = -1;
    std::string output;
};

/// kubectl 1.30 and 1.31 read before they have made their streams: they may say so of a session's first, empty message
/// (kube-apiserver sends the same one), and lose nothing by it.
constexpr std::string_view kEarlyReader = "Unknown stream id 1, discarding message\n";

void drop_line_of_early_reader(std::string* output) {
    const auto found = output->find(kEarlyReader);
    if (found == std::string::npos) return;
    const auto line = output->rfind('\n', found) + 1;  // 0 where there is none before.
    output->erase(line, found + kEarlyReader.size() - line);
}

/// What a command prints on both its streams, and its exit code.
Outcome shell(const std::string& command) {
    Outcome outcome;
    FILE* pipe = ::popen(("timeout 60 bash -c '" + command + "' 2>&1").c_str(), "r");
    std::array<char, 4096> piece{};
    while (const std::size_t got = std::fread(piece.data(), 1, piece.size(), pipe)) {
        outcome.output.append(piece.data(), got);
    }
    const int status = ::pclose(pipe);
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    drop_line_of_early_reader(&outcome.output);
    return outcome;
}

class Backend final : public kubelet::ServerBackend {
public:
    explicit Backend(std::string log) : log_(std::move(log)) {}

    Result<LogFile> log_file(const std::string&, const std::string&, const std::string& container,
                             bool previous) override {
        if (previous) {
            return make_error(Code::kFailedPrecondition,
                              "previous terminated container \"{}\" in pod \"web\" not found",
                              container);
        }
        return LogFile{log_, running.load(), "id"};
    }
    bool is_running(const std::string&) override { return running.load(); }
    Result<std::string> exec_url(const std::string&, const std::string&, const std::string&,
                                 const kubelet::ExecRequest& request) override {
        kubelet::ExecRequest exec = request;
        // What the attached container runs.
        if (exec.command.empty()) exec.command = {"sh", "-c", "echo attached; cat; exit 0"};
        return runtime.exec(exec);
    }
    Result<std::string> port_forward_url(const std::string&, const std::string&,
                                         const std::vector<std::int32_t>&) override {
        return runtime.port_forward();
    }
    std::string pods_json() override { return "{}"; }
    std::string metrics() override { return "x 1\n"; }

    kubelet::testing::TestRuntime runtime;
    std::atomic<bool> running{true};

private:
    std::string log_;
};

class Cluster {
public:
    Cluster() {
        std::string name = (fs::temp_directory_path() / "pod-proxy-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        folder = name;
        backend = std::make_unique<Backend>(folder + "/0.log");
        store::SqliteOptions store_options;
        store_options.path = folder + "/store.db";
        store_ = must(store::open_sqlite(store_options));
        auto directory = must(pki::Directory::open(folder + "/pki", std::time(nullptr)));
        const auto pair = must(directory.server({"localhost"}, {*IpAddress::parse("127.0.0.1")}));
        const auto proxy_pair =
            must(directory.issue_client("kube-apiserver-kubelet-client", {"system:masters"}));
        const auto admin = must(directory.issue_client("admin", {"system:masters"}));
        kubelet::KubeletServerOptions kubelet_options{"127.0.0.1", 0, pair.certificate_pem,
                                                      pair.private_key_pem, directory.ca_pem()};
        kubelet_ = must(kubelet::KubeletServer::start(kubelet_options, *backend));
        api_server_ = std::make_unique<ApiServer>(*store_, "127.0.0.1:6443", [this] {
            return server ? server->stats() : http::ServerStats{};
        });
        registry::ApiOptions api_options;
        api_options.service_cidrs = {*IpPrefix::parse("10.96.0.0/16")};
        api_options.advertise_address = "127.0.0.1";
        api_ = must(registry::make_api(*store_, api_options));
        api_server_->set_api(api_.get());
        proxy_ = must(PodProxy::create(
            {directory.ca_pem(), proxy_pair.certificate_pem, proxy_pair.private_key_pem, {}},
            [this](const codec::KindInfo& kind, const std::string& name_space,
                   const std::string& object) { return api_->read(kind, name_space, object); }));
        api_server_->set_pod_proxy(proxy_.get());
        http::ServerOptions server_options;
        server_options.port = 0;
        server_options.certificate_pem = pair.certificate_pem;
        server_options.private_key_pem = pair.private_key_pem;
        server_options.client_ca_pem = directory.ca_pem();
        server = must(http::listen(server_options, [this](auto request, auto responder) {
            api_server_->handle(std::move(request), std::move(responder));
        }));
        const std::string url = fmt::format("https://127.0.0.1:{}", server->port());
        kubeconfig = folder + "/kubeconfig";
        if (!pki::write_kubeconfig(kubeconfig, {url, directory.ca_pem(), "admin", admin})) {
            std::abort();
        }
        create_objects();
    }
    ~Cluster() {
        server->shutdown(0);
        server.reset();
        proxy_.reset();
        kubelet_.reset();
        backend.reset();
        api_.reset();
        fs::remove_all(folder);
    }
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;

    [[nodiscard]] std::string kubectl(const std::string& binary) const {
        return fmt::format("HOME={} {} --kubeconfig={} ", folder, binary, kubeconfig);
    }

    std::string folder;
    std::string kubeconfig;
    std::unique_ptr<Backend> backend;
    std::unique_ptr<http::Server> server;

private:
    void create_objects() const;

    std::unique_ptr<store::Store> store_;
    std::unique_ptr<kubelet::KubeletServer> kubelet_;
    std::unique_ptr<ApiServer> api_server_;
    std::unique_ptr<registry::Api> api_;
    std::unique_ptr<PodProxy> proxy_;
};

std::vector<std::string> kubectls() {
    std::set<std::string> found;
    const fs::path folder = "/usr/lib/google-cloud-sdk/bin";
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        if (entry.path().filename().string().starts_with("kubectl.1.")) {
            found.insert(entry.path().string());
        }
    }
    for (const char* path : {"/usr/bin/kubectl", SLUICE_SOURCE_DIR "/build/debian-kubectl/usr/bin/kubectl"}) {
        if (fs::exists(path, error)) found.insert(path);
    }
    if (const char* more = std::getenv("SLUICE_KUBECTL")) found.insert(more);
    return {found.begin(), found.end()};
}

void Cluster::create_objects() const {
    std::ofstream(folder + "/objects.yaml") << R"(
apiVersion: v1
kind: Node
metadata: {name: node-1}
---
apiVersion: v1
kind: Node
metadata: {name: gone}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeName: node-1
  containers: [{name: c, image: x, stdin: true}]
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  nodeName: node-1
  initContainers: [{name: first, image: x}]
  containers: [{name: a, image: x}, {name: b, image: x}]
---
apiVersion: v1
kind: Pod
metadata: {name: nowhere}
spec:
  containers: [{name: c, image: x}]
---
apiVersion: v1
kind: Pod
metadata: {name: lost}
spec:
  nodeName: gone
  containers: [{name: c, image: x}]
)";
    // Statuses need a kubectl that knows --subresource; one of those here does.
    std::string commands = this->kubectl(kubectls().front()) + "create -f " + folder + "/objects.yaml; ";
    const auto status = [&](const std::string& object, const std::string& text) {
        std::string file = folder + "/" + object.substr(object.find('/') + 1) + ".status";
        std::ofstream(file) << R"({"status":)" << text << "}";
        for (const auto& binary : kubectls()) {
            commands += this->kubectl(binary) + "patch " + object +
                        " --subresource=status --type=merge --patch-file=" + file + " || ";
        }
        commands += "echo no status; ";
    };
    const auto node = [](int port) {
        return fmt::format(
            R"({{"addresses":[{{"type":"InternalIP","address":"127.0.0.1"}}],)"
            R"("daemonEndpoints":{{"kubeletEndpoint":{{"Port":{}}}}}}})",
            port);
    };
    status("node/node-1", node(kubelet_->port()));
    status("node/gone", node(1));
    for (const char* pod : {"pod/web", "pod/two", "pod/lost"}) status(pod, R"({"phase":"Running"})");
    fmt::print("{}", shell(commands).output);
}

class PodProxyTest : public ::testing::TestWithParam<std::string> {
protected:
    static void SetUpTestSuite() { cluster_ = new Cluster; }
    static void TearDownTestSuite() {
        delete cluster_;
        cluster_ = nullptr;
    }
    static Cluster& cluster() { return *cluster_; }
    static Outcome kubectl(const std::string& arguments) {
        return shell(cluster_->kubectl(GetParam()) + arguments);
    }
    static Cluster* cluster_;
};
Cluster* PodProxyTest::cluster_ = nullptr;

TEST_P(PodProxyTest, ExecGivesOutputAndExitCode) {
    auto got = kubectl("exec web -- sh -c \"echo out; echo err >&2; exit 3\"");
    EXPECT_EQ(got.code, 3) << got.output;
    EXPECT_NE(got.output.find("out\n"), std::string::npos) << got.output;
    EXPECT_NE(got.output.find("err\n"), std::string::npos) << got.output;
    // Newer ones use WebSocket, and do not have to fall back to SPDY.
    got = kubectl("-v=4 exec web -- true");
    EXPECT_EQ(got.code, 0) << got.output;
    EXPECT_EQ(got.output.find("allback"), std::string::npos) << got.output;
}

TEST_P(PodProxyTest, ExecTakesInputToItsEnd) {
    const std::string expected = shell("seq 1 2000000 | md5sum").output;
    const auto got = shell("seq 1 2000000 | " + cluster().kubectl(GetParam()) + "exec -i web -- md5sum");
    EXPECT_EQ(got.output, expected);
    const auto back = shell(cluster().kubectl(GetParam()) + "exec web -- seq 1 2000000 | md5sum");
    EXPECT_EQ(back.output, expected);
}

TEST_P(PodProxyTest, TerminalsHaveTheClientsSize) {
    const auto got = shell("script -qec \"stty rows 33 cols 77; " + cluster().kubectl(GetParam()) +
                           "exec -it web -- sh -c \\\"until stty size | grep 33.77; do sleep 0.1; done"
                           "\\\"\" /dev/null </dev/null");
    EXPECT_NE(got.output.find("33 77"), std::string::npos) << got.output;
}

TEST_P(PodProxyTest, Attach) {
    const auto got =
        shell("(sleep 1; echo typed) | " + cluster().kubectl(GetParam()) + "attach -i web -c c");
    EXPECT_NE(got.output.find("attached\n"), std::string::npos) << got.output;
    EXPECT_NE(got.output.find("typed\n"), std::string::npos) << got.output;
}

TEST_P(PodProxyTest, CopiesBothWays) {
    const std::string f = cluster().folder;
    const auto got = shell(fmt::format(
        "rm -rf {0}/a {0}/b {0}/c; mkdir {0}/b; head -c 3000000 /dev/urandom > {0}/a; {1} cp {0}/a web:{0}/b/a && {1} "
        "cp web:{0}/b/a {0}/c && cmp {0}/a {0}/b/a && cmp {0}/a {0}/c && echo same",
        f, cluster().kubectl(GetParam())));
    EXPECT_NE(got.output.find("same\n"), std::string::npos) << got.output;
}

// A server that gives back the MD5 sum of what it gets, and one that gives 64 MiB.
constexpr const char* kServer = R"(
import hashlib, socket, sys, threading
def serve(c):
    kind = c.recv(1)
    if kind == b"d":
        for i in range(64): c.sendall(bytes([i]) * (1 << 20))
    else:
        h = hashlib.md5()
        while True:
            d = c.recv(65536)
            if not d: break
            h.update(d)
        c.sendall(h.hexdigest().encode())
    c.close()
s = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1], "w").write(str(s.getsockname()[1]))
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
)";
constexpr const char* kClient = R"(
import hashlib, socket, sys, threading
port = int(sys.argv[1])
data = b"".join(bytes([i]) * (1 << 20) for i in range(64))
want = hashlib.md5(data).hexdigest()
results = []
def up():
    c = socket.create_connection(("127.0.0.1", port)); c.sendall(b"u" + data); c.shutdown(1)
    got = b""
    while len(got) < 32:
        d = c.recv(100)
        if not d: break
        got += d
    results.append(got.decode() == want)
def down():
    c = socket.create_connection(("127.0.0.1", port)); c.sendall(b"d")
    h = hashlib.md5()
    n = 0
    while n < len(data):
        d = c.recv(1 << 20)
        if not d: break
        h.update(d); n += len(d)
    results.append(h.hexdigest() == want)
t = [threading.Thread(target=f) for f in sys.argv[2] and (up, down, down)]
[x.start() for x in t]; [x.join() for x in t]
print("results", results)
)";

TEST_P(PodProxyTest, ForwardsPortsWithLargeBodies) {
    const std::string f = cluster().folder;
    std::ofstream(f + "/server.py") << kServer;
    std::ofstream(f + "/client.py") << kClient;
    const auto got = shell(fmt::format(
        "cd {0}; rm -f port forward; python3 server.py port & server=$!; until [ -s port ]; do sleep 0.1; done; {1} "
        "-v=4 port-forward --address 127.0.0.1 pod/web :$(cat port) > forward 2>&1 & until grep -q Forwarding forward; do sleep 0.1; "
        "done; python3 client.py $(sed -n \"s/.*127.0.0.1:\\([0-9]*\\) .*/\\1/p\" forward | head -1) x; kill $server $!; "
        "cat forward",
        f, cluster().kubectl(GetParam())));
    EXPECT_NE(got.output.find("results [True, True, True]"), std::string::npos) << got.output;
    EXPECT_EQ(got.output.find("allback"), std::string::npos) << got.output;
}

TEST_P(PodProxyTest, LogsFollowUntilTheContainerEnds) {
    const std::string path = cluster().folder + "/0.log";
    std::ofstream(path) << "2026-01-02T03:04:05Z stdout F one\n2026-01-02T03:04:05Z stderr F two\n";
    cluster().backend->running.store(false);
    EXPECT_EQ(kubectl("logs web").output, "one\ntwo\n");
    EXPECT_EQ(kubectl("logs --tail=1 --timestamps web").output, "2026-01-02T03:04:05Z two\n");
    EXPECT_EQ(kubectl("logs --limit-bytes=5 web").output, "one\nt");
    EXPECT_NE(kubectl("logs --previous web").output.find("previous terminated container"),
              std::string::npos);
    cluster().backend->running.store(true);
    std::thread writer([&] {
        for (int i = 0; i < 5; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            std::ofstream(path, std::ios::app) << "2026-01-02T03:04:06Z stdout F more\n";
        }
        cluster().backend->running.store(false);
    });
    const auto got = kubectl("logs -f web");
    writer.join();
    EXPECT_EQ(got.code, 0);
    EXPECT_EQ(got.output, "one\ntwo\nmore\nmore\nmore\nmore\nmore\n");
    cluster().backend->running.store(true);
}

TEST_P(PodProxyTest, RefusalsAreThoseOfKubernetes) {
    const auto raw = [](const std::string& path) {
        return kubectl("get --raw \"/api/v1/namespaces/default/pods/" + path + "\"").output;
    };
    EXPECT_NE(raw("two/log").find("a container name must be specified for pod two, choose one of: [first a b]"),
              std::string::npos)
        << raw("two/log");
    EXPECT_NE(raw("two/log?container=z").find("container z is not valid for pod two"), std::string::npos);
    EXPECT_NE(raw("web/log?tailLines=-1")
                  .find("PodLogOptions \"web\" is invalid: tailLines: Invalid value: -1: must be greater than "
                        "or equal to 0"),
              std::string::npos)
        << raw("web/log?tailLines=-1");
    EXPECT_NE(raw("none/log").find("pods \"none\" not found"), std::string::npos);
    EXPECT_EQ(raw("nowhere/log"), "");
    EXPECT_NE(raw("lost/log").find("dial tcp 127.0.0.1:1: connect: connection refused"),
              std::string::npos)
        << raw("lost/log");
    EXPECT_NE(raw("web/exec?command=x&stdout=true").find("Upgrade request required"), std::string::npos);
    const auto lost = kubectl("exec lost -- true");
    EXPECT_NE(lost.code, 0);
    EXPECT_NE(lost.output.find("error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused"),
              std::string::npos)
        << lost.output;
    EXPECT_NE(kubectl("exec nowhere -- true").output.find("does not have a host assigned"),
              std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Kubectls, PodProxyTest, ::testing::ValuesIn(kubectls()),
                         [](const auto& instance) {
                             std::string name = fs::path(instance.param).filename().string();
                             if (instance.param.find("debian") != std::string::npos) name += "_debian";
                             if (instance.param.starts_with("/tmp")) name += "_given";
                             for (char& c : name) {
                                 if (c == '.' || c == '-') c = '_';
                             }
                             return name;
                         });

}  // namespace
}  // namespace sluice::apiserver
