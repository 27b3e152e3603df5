// How agent/migrate reaches the machine: programs of iptables, libnftables, /proc. See migrate.h.
#include <nftables/libnftables.h>
#include <unistd.h>

#include <memory>

#include "agent/migrate/command.h"
#include "agent/migrate/migrate.h"
#include "api/client/kubeconfig.h"

namespace sluice::migrate {
namespace {

struct NftDeleter {
    void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};

Result<std::string> run_nftables(const std::string& commands) {
    const std::unique_ptr<nft_ctx, NftDeleter> context(nft_ctx_new(NFT_CTX_DEFAULT));
    if (!context || nft_ctx_buffer_output(context.get()) != 0 || nft_ctx_buffer_error(context.get()) != 0) {
        return make_error(Code::kResourceExhausted, "no memory for a context of libnftables");
    }
    if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) {
        return std::string(nft_ctx_get_output_buffer(context.get()));
    }
    std::string said = nft_ctx_get_error_buffer(context.get());
    said.resize(std::min(said.find('\n'), said.size()));
    return make_error(Code::kUnavailable, "nftables refuses \"{}\": {}", commands.substr(0, commands.find('\n')), said);
}

Result<void> run_program(const std::vector<std::string>& words, std::string_view input,
                         const MigrateMachine::Take& take) {
    auto argv = words;
    argv[0] = find_program(words[0]);
    if (argv[0].empty()) return make_error(Code::kNotFound, "{} is not installed", words[0]);
    return run_command(argv, input, take);
}

}  // namespace

MigrateMachine MigrateMachine::real() {
    return {[](const std::string& program) { return !find_program(program).empty(); },
            run_program,
            run_nftables,
            [](const std::string& path) { return client::read_file(path); },
            // Of this thread's network namespace, as sysfs may be mounted for another.
            [](const std::string& link) {
                return ::access(("/proc/sys/net/ipv4/conf/" + link).c_str(), F_OK) == 0;
            }};
}

}  // namespace sluice::migrate
