// The command line of sluice-agent: kube-proxy's flags and our own. CLI11 stays behind flags.cc.
//
// With --config, flags that stand for its fields are overruled by it, as in kube-proxy, and a note says so; the
// exceptions are kube-proxy's: --hostname-override, --master and the flags of logging.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "agent/config/config.h"
#include "api/base/result.h"

namespace sluice::config {

struct Command {
    enum class Kind {
        kServe,
        kShow,              // print text, and exit
        kWriteConfig,       // to write_to
        kCleanup,           // of what agents left
        kCleanupKubeProxy,  // of what a kube-proxy left
    };
    Kind kind = Kind::kServe;
    Config config;  // resolved, except of kShow
    std::string text;
    std::string write_to;
};

using ReadFile = std::function<Result<std::string>(const std::string& path)>;

// arguments: without the program's name. kInvalidArgument is wrong usage; errors of the file named by --config have
// another code. Pure but for read_file.
Result<Command> parse_command_line(const std::vector<std::string>& arguments, const ReadFile& read_file);

// Names of all flags, sorted, without dashes.
[[nodiscard]] std::vector<std::string> flag_names();

}  // namespace sluice::config
