// What the network of pods does to the machine: files, routes, nftables. See network.h.
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "agent/network/network.h"
#include "api/base/fd.h"

namespace sluice::network {
namespace {

struct NftDeleter {
    void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};

Result<void> run_nftables(const std::string& commands) {
    const std::unique_ptr<nft_ctx, NftDeleter> context(nft_ctx_new(NFT_CTX_DEFAULT));
    if (!context || nft_ctx_buffer_output(context.get()) != 0 ||
        nft_ctx_buffer_error(context.get()) != 0) {
        return make_error(Code::kResourceExhausted, "nftables: no memory for a context");
    }
    if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) return {};
    std::string said = nft_ctx_get_error_buffer(context.get());
    said.resize(std::min(said.find('\n'), said.size()));
    return make_error(Code::kUnavailable, "nftables refuses the table of pods: {}", said);
}

Result<void> write_all(int fd, const std::string& text, const std::string& path) {
    std::size_t written = 0;
    while (written < text.size()) {
        const ssize_t some = ::write(fd, text.data() + written, text.size() - written);
        if (some < 0 && errno == EINTR) continue;
        if (some < 0) return errno_error(errno, "writing {}", path);
        written += static_cast<std::size_t>(some);
    }
    return {};
}

// True if there was something to remove.
Result<bool> remove_masquerade() {
    const std::unique_ptr<nft_ctx, NftDeleter> context(nft_ctx_new(NFT_CTX_DEFAULT));
    if (!context) return make_error(Code::kResourceExhausted, "nftables: no memory for a context");
    nft_ctx_buffer_output(context.get());
    nft_ctx_buffer_error(context.get());
    // A kernel without nftables has no table of ours either.
    return nft_run_cmd_from_buffer(context.get(), "delete table inet sluice-pods") == 0;
}

}  // namespace

NetworkMachine NetworkMachine::real() {
    return {[] { return netlink::list_links(); },
            [] { return netlink::list_routes(); },
            netlink::put_route,
            netlink::remove_route,
            netlink::find_hop,
            run_nftables};
}

Result<void> write_atomically(const std::string& directory, const std::string& name,
                              const std::string& text) {
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
        return errno_error(errno, "making the folder {}", directory);
    }
    const std::string path = directory + "/" + name;
    // A name that container runtimes do not read.
    const std::string fresh = directory + "/." + name + ".new";
    const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!file) return errno_error(errno, "creating {}", fresh);
    auto written = write_all(file.get(), text, fresh);
    if (written && ::fsync(file.get()) != 0) written = errno_error(errno, "writing {}", fresh);
    if (written && ::rename(fresh.c_str(), path.c_str()) != 0) {
        written = errno_error(errno, "renaming {} to {}", fresh, path);
    }
    if (!written) ::unlink(fresh.c_str());
    return written;
}

Result<std::vector<std::string>> clean_up(const std::string& cni_conf_dir) {
    std::vector<std::string> out;
    if (!cni_conf_dir.empty()) {
        const std::string path = cni_conf_dir + "/" + kCniFile;
        if (::unlink(path.c_str()) == 0) {
            out.push_back(path);
        } else if (errno != ENOENT && errno != ENOTDIR) {
            return errno_error(errno, "removing {}", path);
        }
    }
    SLUICE_TRY_ASSIGN(const auto routes, netlink::list_routes());
    for (const auto& route : routes) {
        SLUICE_TRY(netlink::remove_route(route));
        out.push_back("route to " + route.destination.to_string());
    }
    SLUICE_TRY_ASSIGN(const bool masqueraded, remove_masquerade());
    if (masqueraded) out.emplace_back("nftables table inet sluice-pods");
    return out;
}

}  // namespace sluice::network
