#include "control/store/etcd/test_etcd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <thread>

namespace sluice::store::testing {

namespace {

constexpr const char* kProgram = "/usr/bin/etcd";

// A port that was free a moment ago.
int free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    SLUICE_ASSERT(fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
    SLUICE_ASSERT(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    ::close(fd);
    return ntohs(address.sin_port);
}

bool accepts(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool connected =
        ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return connected;
}

}  // namespace

bool have_etcd() { return ::access(kProgram, X_OK) == 0; }

TestEtcd::TestEtcd(std::vector<std::string> arguments, std::string scheme)
    : arguments_(std::move(arguments)), scheme_(std::move(scheme)) {
    // What a test writes need not survive the machine.
    const bool memory = ::access("/dev/shm", W_OK) == 0;
    folder_ = (memory ? "/dev/shm" : std::filesystem::temp_directory_path().string()) +
              std::string("/sluice-etcd-XXXXXX");
    SLUICE_ASSERT(::mkdtemp(folder_.data()) != nullptr);
    client_port_ = free_port();
    home_port_ = client_port_;
    peer_port_ = free_port();
    start();
}

TestEtcd::~TestEtcd() {
    kill();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
}

std::string TestEtcd::url() const {
    return fmt::format("{}://127.0.0.1:{}", scheme_, client_port_);
}

EtcdOptions TestEtcd::options() const {
    EtcdOptions options;
    options.endpoints = {url()};
    options.local_prefix = "";
    options.remote_prefix = "/test/";
    options.compaction_interval = std::chrono::milliseconds(0);
    // A loaded machine is no failure.
    options.request_timeout = std::chrono::seconds(60);
    return options;
}

void TestEtcd::start() {
    const std::string peer = fmt::format("http://127.0.0.1:{}", peer_port_);
    std::vector<std::string> command{kProgram,
                                     "--name=t",
                                     "--data-dir=" + folder_ + "/data",
                                     "--listen-client-urls=" + url(),
                                     "--advertise-client-urls=" + url(),
                                     "--listen-peer-urls=" + peer,
                                     "--initial-advertise-peer-urls=" + peer,
                                     "--initial-cluster=t=" + peer,
                                     "--heartbeat-interval=20",
                                     "--election-timeout=200",
                                     "--logger=zap",
                                     "--log-level=error"};
    command.insert(command.end(), arguments_.begin(), arguments_.end());
    pid_ = ::fork();
    SLUICE_ASSERT(pid_ >= 0);
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int log = ::open((folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        ::dup2(log, 1);
        ::dup2(log, 2);
        std::vector<char*> words;
        for (std::string& word : command) {
            words.push_back(word.data());
        }
        words.push_back(nullptr);
        ::execv(kProgram, words.data());
        ::_exit(127);
    }
    for (int i = 0; i < 3'000 && !accepts(client_port_); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

void TestEtcd::kill() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }
}

void TestEtcd::start_elsewhere() {
    client_port_ = free_port();
    start();
}

void TestEtcd::start_at_home() {
    client_port_ = home_port_;
    start();
}

void TestEtcd::freeze() { ::kill(pid_, SIGSTOP); }
void TestEtcd::unfreeze() { ::kill(pid_, SIGCONT); }

void TestEtcd::erase() { std::filesystem::remove_all(folder_ + "/data"); }

std::string TestEtcd::etcdctl(const std::vector<std::string>& arguments) const {
    std::string command = "ETCDCTL_API=3 etcdctl --endpoints=" + url();
    for (const std::string& argument : arguments) {
        command += " '" + argument + "'";
    }
    std::string out;
    FILE* pipe = ::popen((command + " 2>&1").c_str(), "re");
    SLUICE_ASSERT(pipe != nullptr);
    std::array<char, 4096> piece{};
    for (std::size_t got = 0; (got = ::fread(piece.data(), 1, piece.size(), pipe)) > 0;) {
        out.append(piece.data(), got);
    }
    ::pclose(pipe);
    return out;
}

}  // namespace sluice::store::testing
