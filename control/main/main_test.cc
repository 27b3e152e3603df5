// sluice-control as people and scripts meet it: exit codes, messages, files, start and stop.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace sluice::control {
namespace {

namespace fs = std::filesystem;

class Program {
public:
    explicit Program(std::vector<std::string> arguments) {
        std::array<int, 2> pipe{};
        EXPECT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
        arguments.insert(arguments.begin(), SLUICE_CONTROL_PROGRAM);
        std::vector<char*> argv;
        for (auto& argument : arguments) argv.push_back(argument.data());
        argv.push_back(nullptr);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(pipe[1], STDOUT_FILENO);
            ::dup2(pipe[1], STDERR_FILENO);
            ::execv(argv[0], argv.data());
            ::_exit(127);
        }
        ::close(pipe[1]);
        output_ = pipe[0];
    }
    ~Program() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        ::close(output_);
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    // Reads until the output contains the text; false if it ends without.
    bool says(const std::string& wanted) {
        std::array<char, 4'096> buffer{};
        while (text.find(wanted) == std::string::npos) {
            const ssize_t n = ::read(output_, buffer.data(), buffer.size());
            if (n <= 0) return false;
            text.append(buffer.data(), static_cast<std::size_t>(n));
        }
        return true;
    }
    // Waits for its end; text then holds all it said. A signal's death is 128 + signal.
    int exit_code() {
        says("\x01");
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    void signal(int number) const { ::kill(pid_, number); }

    std::string text;

private:
    pid_t pid_ = -1;
    int output_ = -1;
};

class Control : public ::testing::Test {
protected:
    Control() {
        std::string name = (fs::temp_directory_path() / "sluice-control-XXXXXX").string();
        directory = ::mkdtemp(name.data());
        data = directory + "/deep/data";
    }
    ~Control() override { fs::remove_all(directory); }

    [[nodiscard]] std::vector<std::string> arguments(std::vector<std::string> more = {}) const {
        std::vector<std::string> all = {"--data-dir", data, "--listen", "127.0.0.1:0"};
        all.insert(all.end(), more.begin(), more.end());
        return all;
    }

    std::string directory;
    std::string data;
};

TEST_F(Control, WrongUsageIs2AndTouchesNothing) {
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
        {{}, "--data-dir"},
        {{"--data-dir", data, "--no-such-flag"}, "--no-such-flag"},
        {{"--data-dir", ""}, "--data-dir"},
        {{"--data-dir", data, "--listen", "nowhere"}, "nowhere"},
        {{"--data-dir", data, "--listen", "localhost:6443"}, "not an IP address"},
        {{"--data-dir", data, "--listen", "::1:6443"}, "brackets"},
        {{"--data-dir", data, "--listen", "[127.0.0.1]:6443"}, "brackets"},
        {{"--data-dir", data, "--listen", "127.0.0.1:65536"}, "65536"},
        {{"--data-dir", data, "--service-cluster-ip-range", "10.0.0.0/33"}, "10.0.0.0/33"},
        {{"--data-dir", data, "--service-cluster-ip-range", "10.0.0.1/16"}, "10.0.0.1/16"},
        {{"--data-dir", data, "--service-cluster-ip-range", "10.0.0.0/8"}, "too large"},
        {{"--data-dir", data, "--service-cluster-ip-range", "10.0.0.0/30"}, "fewer than 8"},
        {{"--data-dir", data, "--service-cluster-ip-range", "127.0.0.0/16"}, "loopback"},
        {{"--data-dir", data, "--service-cluster-ip-range", "10.0.0.0/16,10.1.0.0/16"}, "families"},
        {{"--data-dir", data, "--service-node-port-range", "9-1"}, "9-1"},
        {{"--data-dir", data, "--service-node-port-range", "0-1"}, "0-1"},
        {{"--data-dir", data, "--service-node-port-range", "30000"}, "30000"},
        {{"--data-dir", data, "--components", "apiserver,magic"}, "\"magic\""},
        {{"--data-dir", data, "--components", "dns"}, "lacks apiserver"},
        {{"--data-dir", data, "--cluster-cidr", "10.9.0.0/16"},
         "--cluster-cidr needs the component controllers"},
        {{"--data-dir", data, "--components", "apiserver,controllers", "--cluster-cidr", "10.9.0.1/16"},
         "10.9.0.1/16"},
        {{"--data-dir", data, "--components", "apiserver,controllers", "--cluster-cidr", "10.9.0.0/25"},
         "smaller than one node's range"},
        {{"--data-dir", data, "--components", "apiserver,controllers",
          "--node-cidr-mask-size-ipv4", "31"}, "--node-cidr-mask-size-ipv4"},
        {{"--data-dir", data, "--components", "apiserver,controllers",
          "--node-monitor-grace-period", "soon"}, "--node-monitor-grace-period"},
        {{"--data-dir", data, "--components", "apiserver,controllers",
          "--node-monitor-grace-period", "1s"}, "is above --node-monitor-grace-period"},
        {{"--data-dir", data, "--default-unreachable-toleration-seconds", "-1"}, "negative"},
        {{"--data-dir", data, "--event-ttl", "1"}, "--event-ttl"},
        {{"--data-dir", data, "--history-mib", "0"}, "--history-mib"},
        {{"--data-dir", data, "--dns-listen", "127.0.0.1:53"}, "--dns-listen needs the component dns"},
        {{"--data-dir", data, "--components", "apiserver,dns", "--dns-listen", "nowhere:53"}, "nowhere"},
        {{"--data-dir", data, "--components", "apiserver,dns", "--cluster-domain", "a..b"}, "a..b"},
        {{"--data-dir", data, "--components", "apiserver,dns", "--dns-upstream", "1.2.3"}, "1.2.3"},
        {{"--data-dir", data, "--components", "apiserver,dns", "--dns-listen", "127.0.0.1:1053",
          "--dns-upstream", "127.0.0.1:1053"},
         "names the server itself"},
        {{"--data-dir", data, "--tls-san", "a_b"}, "a_b"},
        {{"--data-dir", data, "--log-level", "loud"}, "loud"},
        {{"kubeconfig", "--data-dir", data}, "--user"},
    };
    for (const auto& [flags, word] : cases) {
        Program program(flags);
        EXPECT_EQ(program.exit_code(), 2) << word << program.text;
        EXPECT_NE(program.text.find(word), std::string::npos) << program.text;
    }
    EXPECT_FALSE(fs::exists(directory + "/deep"));
}

TEST_F(Control, HelpAndVersionAre0) {
    Program help({"--help"});
    EXPECT_EQ(help.exit_code(), 0);
    EXPECT_NE(help.text.find("--service-cluster-ip-range"), std::string::npos);
    Program version({"--version"});
    EXPECT_EQ(version.exit_code(), 0);
    EXPECT_NE(version.text.find(SLUICE_VERSION), std::string::npos);
}

TEST_F(Control, StartsStopsAndStartsAgainWithTheSameAuthority) {
    std::string authority;
    for (int round = 0; round < 2; ++round) {
        Program program(arguments());
        ASSERT_TRUE(program.says("sluice-control is ready at https://127.0.0.1:")) << program.text;
        ASSERT_TRUE(program.says(data + "/admin.kubeconfig\n")) << program.text;
        for (const char* name : {"/admin.kubeconfig", "/agent.kubeconfig", "/store.db"}) {
            struct stat facts {};
            ASSERT_EQ(::stat((data + name).c_str(), &facts), 0) << name;
            EXPECT_EQ(facts.st_mode & 0777U, 0600U) << name;
        }
        std::ifstream file(data + "/pki/ca.crt");
        const std::string now(std::istreambuf_iterator<char>(file), {});
        if (round == 1) {
            EXPECT_EQ(now, authority);
        }
        authority = now;
        program.signal(round == 0 ? SIGTERM : SIGINT);
        EXPECT_EQ(program.exit_code(), 0) << program.text;
    }
    Program kubeconfig({"kubeconfig", "--data-dir", data, "--user", "bob", "--group", "dev",
                        "--server", "https://example.org"});
    EXPECT_EQ(kubeconfig.exit_code(), 0);
    EXPECT_NE(kubeconfig.text.find("server: 'https://example.org'"), std::string::npos);
}

TEST_F(Control, FailuresAre1AndNameTheThing) {
    Program first(arguments());
    ASSERT_TRUE(first.says("ready")) << first.text;
    Program second(arguments());
    EXPECT_EQ(second.exit_code(), 1);
    EXPECT_NE(second.text.find(data), std::string::npos) << second.text;
    first.signal(SIGTERM);
    EXPECT_EQ(first.exit_code(), 0);

    std::ofstream(data + "/pki/ca.crt", std::ios::trunc) << "garbage";
    Program damaged(arguments());
    EXPECT_EQ(damaged.exit_code(), 1);
    EXPECT_NE(damaged.text.find(data + "/pki/ca.crt is damaged"), std::string::npos)
        << damaged.text;

    std::ofstream(directory + "/file") << "";
    Program nowhere({"--data-dir", directory + "/file/data", "--listen", "127.0.0.1:0"});
    EXPECT_EQ(nowhere.exit_code(), 1);
    EXPECT_NE(nowhere.text.find(directory + "/file"), std::string::npos) << nowhere.text;

    Program unmade({"kubeconfig", "--data-dir", directory + "/none", "--user", "bob"});
    EXPECT_EQ(unmade.exit_code(), 1);
    EXPECT_FALSE(fs::exists(directory + "/none"));
}

}  // namespace
}  // namespace sluice::control
