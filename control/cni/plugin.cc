#include "control/cni/plugin.h"

#include "control/cni/allocator.h"
#include "control/cni/attachment.h"
#include "control/cni/config.h"
#include "control/cni/network.h"
#include "control/cni/result.h"

namespace sluice::cni {
namespace {

Result<std::string> add(const Environment& environment, const Config& config,
                        const AttachmentId& id) {
    SLUICE_TRY_ASSIGN(const auto network, open_network(environment.netns));
    SLUICE_TRY_ASSIGN(auto allocator, Allocator::open(config.data_dir, config.name));
    SLUICE_TRY_ASSIGN(const Attached attached, attach(*network, allocator, config, id));
    return render_result(config, environment, attached);
}

Result<std::string> del(const Config& config, const AttachmentId& id) {
    // The pod's namespace may be gone, and is not needed: its end goes with the host's.
    SLUICE_TRY_ASSIGN(const auto network, open_network(""));
    SLUICE_TRY_ASSIGN(auto allocator, Allocator::open(config.data_dir, config.name));
    SLUICE_TRY(detach(*network, allocator, config, id));
    return std::string();
}

Result<std::string> check_attachment(const Environment& environment, const Config& config,
                                     const AttachmentId& id) {
    SLUICE_TRY_ASSIGN(const auto network, open_network(environment.netns));
    SLUICE_TRY_ASSIGN(auto allocator, Allocator::open(config.data_dir, config.name));
    SLUICE_TRY(check(*network, allocator, config, id));
    return std::string();
}

Result<std::string> gc(const Config& config) {
    SLUICE_TRY_ASSIGN(const auto network, open_network(""));
    SLUICE_TRY_ASSIGN(auto allocator, Allocator::open(config.data_dir, config.name));
    SLUICE_TRY(collect(*network, allocator, config));
    return std::string();
}

Result<std::string> loopback(Command command, const Environment& environment,
                             const Config& config) {
    if (command != Command::kAdd && command != Command::kCheck) return std::string();
    SLUICE_TRY_ASSIGN(const auto network, open_network(environment.netns));
    if (command == Command::kCheck) {
        SLUICE_TRY(check_loopback(*network));
        return std::string();
    }
    SLUICE_TRY_ASSIGN(const auto addresses, attach_loopback(*network));
    return render_loopback(config, environment, addresses);
}

// Whether ADD has what it needs of the node: a netlink socket and a folder for addresses.
Result<std::string> status(const Config& config) {
    SLUICE_TRY_ASSIGN(const auto network, open_network(""));
    SLUICE_TRY_ASSIGN(auto allocator, Allocator::open(config.data_dir, config.name));
    SLUICE_TRY(allocator.owners());
    return std::string();
}

Result<std::string> execute(Command command, const Environment& environment, const Config& config) {
    if (config.loopback) return loopback(command, environment, config);
    const AttachmentId id{environment.container_id, environment.ifname};
    switch (command) {
        case Command::kAdd: return add(environment, config, id);
        case Command::kDel: return del(config, id);
        case Command::kCheck: return check_attachment(environment, config, id);
        case Command::kStatus: return status(config);
        case Command::kGc: return gc(config);
        case Command::kVersion: break;
    }
    return render_versions(config.cni_version);
}

Answer refuse(const std::string& cni_version, const CniError& error) {
    return {render_error(cni_version, error), true};
}

}  // namespace

Answer run(const Environment& environment, std::string_view config_text) {
    const std::string version = version_of(config_text);
    const auto command = parse_command(environment.command);
    if (!command) return refuse(version, command.error());
    // VERSION is answered whatever the configuration holds: it is how a runtime finds out.
    if (*command == Command::kVersion) return {render_versions(version), false};
    const auto config = parse_config(config_text, *command);
    if (!config) return refuse(version, config.error());
    if (const auto usable = check_environment(environment, *command, *config); !usable) {
        return refuse(version, usable.error());
    }
    const auto output = execute(*command, environment, *config);
    if (!output) {
        CniError error = to_cni_error(output.error());
        if (*command == Command::kStatus) error.code = CniCode::kNotAvailable;
        return refuse(version, error);
    }
    return {*output, false};
}

}  // namespace sluice::cni
