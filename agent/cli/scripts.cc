#include "agent/cli/scripts.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace sluice::cli {

Error run_script(const std::string& name, const std::vector<std::string>& arguments) {
    std::error_code error;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
    if (error) return errno_error(error.value(), "cannot find this program: {}", error.message());
    const auto directory = program.parent_path();
    for (const char* place : {"../../scripts", "../share/sluice/scripts"}) {
        std::vector<std::string> words = {(directory / place / name).lexically_normal().string()};
        if (::access(words[0].c_str(), X_OK) != 0) continue;
        words.insert(words.end(), arguments.begin(), arguments.end());
        std::vector<char*> argv;
        argv.reserve(words.size() + 1);
        for (auto& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        ::execv(words[0].c_str(), argv.data());
        return errno_error(errno, "cannot run {}: {}", words[0], std::strerror(errno));
    }
    return make_error(Code::kNotFound,
                      "the script \"{}\" is neither in {}/../../scripts nor in "
                      "{}/../share/sluice/scripts",
                      name, directory.string(), directory.string());
}

}  // namespace sluice::cli
