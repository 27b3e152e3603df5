#include "dataplane/ebpf/programs.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <future>
#include <mutex>

#include "api/abi/affinity.h"
#include "api/abi/flow.h"
#include "api/abi/recent.h"
#include "api/abi/socket.h"
#include "api/base/log.h"
#include "dataplane/ebpf/netns.h"
#include "dataplane/ebpf/object_maps.h"
#include "dataplane/ebpf/pins.h"

namespace sluice::dataplane {
namespace {

// What libbpf complained about last, for the error that follows. The end matters: there stands the
// verifier's reason.
constexpr std::size_t kMaxComplaint = 2000;
thread_local std::string complaint;

int keep_complaint(libbpf_print_level level, const char* format, va_list args) {
    if (level != LIBBPF_WARN) {
        return 0;
    }
    std::array<char, 4096> line{};
    const int length = vsnprintf(line.data(), line.size(), format, args);
    complaint += line.data();
    if (complaint.size() > kMaxComplaint) {
        complaint.erase(0, complaint.size() - kMaxComplaint);
    }
    return length;
}

void listen_to_libbpf() {
    quiet_libbpf();
    complaint.clear();
}

// A second table, there only while flows move (flow_growth.h): one entry, and never pinned here.
bool is_second_table(std::string_view map) {
    return map == "sluice_flows4_old" || map == "sluice_flows6_old";
}

// The tables of the image and libbpf's own maps belong to the image, arrays of programs to the
// programs; the rest is state that outlives both.
bool is_state(const bpf_map* map) {
    const std::string_view name = map_name(map);
    if (is_private(map) || bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY ||
        is_second_table(name)) {
        return false;
    }
    const auto specs = image::table_specs(image::Capacities{});
    return std::none_of(specs.begin(), specs.end(),
                        [&](const auto& spec) { return name == spec.name; });
}

// So that a tick of the flow table is about a second, whatever the kernel's HZ: the coarse clock
// advances once a jiffy.
std::uint32_t tick_shift() {
    constexpr long kNsPerSecond = 1000000000L;
    timespec jiffy{};
    if (clock_getres(CLOCK_MONOTONIC_COARSE, &jiffy) != 0 || jiffy.tv_sec != 0 ||
        jiffy.tv_nsec <= 0) {
        return SLUICE_FLOW_DEFAULT_TICK_SHIFT;
    }
    return tick_shift_for(static_cast<std::uint32_t>(kNsPerSecond / jiffy.tv_nsec));
}

std::uint32_t flow_buckets(const EbpfOptions& options) {
    const std::uint32_t wanted =
        std::clamp(options.flow_entries, kLeastFlowEntries, kMostFlowEntries);
    return SLUICE_FLOW_BUCKETS(std::bit_ceil(wanted));
}


std::uint32_t cpu_count() { return static_cast<std::uint32_t>(std::max(libbpf_num_possible_cpus(), 1)); }

// Of flows that XDP remembers by the tick (bpf/lib/recent.h): 1 MiB a CPU, as much as second-level caches hold, and not
// more than 32 MiB altogether.
std::uint32_t recent_sets() {
    constexpr std::uint32_t kMostSets = 1U << 14U, kMostBytes = 32U << 20U;
    constexpr auto kSetBytes = static_cast<std::uint32_t>(sizeof(sluice_recent_set));
    return std::min(kMostSets, std::max(kMostBytes / cpu_count() / kSetBytes, 1U));
}

// The sizes that options and the machine decide; 0: as the object says.
std::uint32_t state_entries(const EbpfOptions& options, std::string_view map) {
    if (map == "sluice_recent" || map == "sluice_recent_to") {
        return cpu_count() * (map == "sluice_recent" ? recent_sets() : SLUICE_RECENT_PLACES);
    }
    if (map == "sluice_affinity") {
        return SLUICE_AFFINITY_BUCKETS(std::bit_ceil(
            std::clamp(options.affinity_entries, kLeastAffinityEntries, kMostAffinityEntries)));
    }
    return map == "sluice_flows4" || map == "sluice_flows6" ? flow_buckets(options) : 0;
}

// Makes and pins a state map before its object is loaded: other objects that use it are loaded at the same time. Socket
// storage is left to libbpf, which describes its types to the kernel; one object alone has it.
Result<void> make_state(bpf_map* map, const std::string& path) {
    if (!is_state(map) || bpf_map__type(map) == BPF_MAP_TYPE_SK_STORAGE) {
        return {};
    }
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = bpf_map__map_flags(map),
                .map_extra = bpf_map__map_extra(map));
    const std::string name(map_name(map));
    const Fd made(bpf_map_create(bpf_map__type(map), name.c_str(), bpf_map__key_size(map),
                                 bpf_map__value_size(map), bpf_map__max_entries(map), &options));
    if (!made) {
        return errno_error(errno, "cannot make the map {} of {} entries", name,
                           bpf_map__max_entries(map));
    }
    if (const int error = bpf_obj_pin(made.get(), path.c_str()); error != 0) {
        return errno_error(-error, "cannot pin {}", path);
    }
    if (const int error = bpf_map__reuse_fd(map, made.get()); error != 0) {
        return errno_error(-error, "cannot hand the map {} to the programs", name);
    }
    return {};
}

// The kernel's work: with what the objects need in their hands, they have nothing in common.
Result<void> verify(bpf_object* object, const std::string& path) {
    listen_to_libbpf();
    if (const int error = bpf_object__load(object); error != 0) {
        return errno_error(-error, "the kernel refused the programs of {}: {}", path, complaint);
    }
    return {};
}

// How large the flow tables are, how long a tick is, and the seed of their hash; written before any program of this
// object can run. What is right already stays untouched, for programs of the former image read it.
Result<void> write_flow_config(bpf_object* object, int map) {
    sluice_flow_config config{};
    const std::uint32_t key = 0;
    if (const int error = bpf_map_lookup_elem(map, &key, &config); error != 0) {
        return errno_error(-error, "cannot read the sizes of the flow tables");
    }
    const sluice_flow_config before = config;
    config.tick_shift = config.tick_shift != 0 ? config.tick_shift : tick_shift();
    while (config.seed == 0) {
        SLUICE_ASSERT(getrandom(&config.seed, sizeof(config.seed), 0) == sizeof(config.seed));
    }
    for (const char* name : {"sluice_flows4", "sluice_flows6"}) {
        const bpf_map* flows = bpf_object__find_map_by_name(object, name);
        if (flows == nullptr) {
            return make_error(Code::kFailedPrecondition, "the object lacks the map {}", name);
        }
        (std::string_view(name) == "sluice_flows4" ? config.bucket_count4 : config.bucket_count6) =
            bpf_map__max_entries(flows);
    }
    if (std::memcmp(&before, &config, sizeof(config)) == 0) {
        return {};
    }
    if (const int error = bpf_map_update_elem(map, &key, &config, BPF_ANY); error != 0) {
        return errno_error(-error, "cannot write the sizes of the flow tables");
    }
    return {};
}

// The keys of the digests of recent flows.
sluice_recent_keys draw_recent_keys() {
    sluice_recent_keys keys{};
    SLUICE_ASSERT(getrandom(&keys, sizeof(keys), 0) == sizeof(keys));
    return keys;
}

// Likewise how large the affinity table is. The programs draw its seed.
Result<void> write_affinity_config(bpf_object* object, int map) {
    const bpf_map* table = bpf_object__find_map_by_name(object, "sluice_affinity");
    sluice_affinity_config config{};
    const std::uint32_t key = 0;
    if (table == nullptr) {
        return make_error(Code::kFailedPrecondition, "the object lacks the map sluice_affinity");
    }
    if (const int error = bpf_map_lookup_elem(map, &key, &config); error != 0) {
        return errno_error(-error, "cannot read the size of the affinity table");
    }
    const std::uint32_t buckets = bpf_map__max_entries(table);
    const std::uint32_t said = config.bucket_count != 0
                                   ? config.bucket_count
                                   : SLUICE_AFFINITY_BUCKETS(SLUICE_AFFINITY_DEFAULT_ENTRIES);
    if (said == buckets) {
        return {};
    }
    // It is new, then: no program uses it yet.
    config.bucket_count = buckets;
    if (const int error = bpf_map_update_elem(map, &key, &config, BPF_ANY); error != 0) {
        return errno_error(-error, "cannot write the size of the affinity table");
    }
    return {};
}

// Sets a constant of a program before it is loaded. It shares the read-only data with whatever else is constant there,
// so its place is asked of BTF.
template <class Constant>
Result<void> write_constant(bpf_object* object, const std::string& path, const char* name, const Constant& value) {
    const btf* types = bpf_object__btf(object);
    const std::int32_t section =
        types == nullptr ? -1 : btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC);
    const btf_type* data = section < 0 ? nullptr : btf__type_by_id(types, static_cast<std::uint32_t>(section));
    const btf_var_secinfo* found = nullptr;
    for (std::uint32_t i = 0; data != nullptr && i < btf_vlen(data); ++i) {
        const btf_var_secinfo& one = btf_var_secinfos(data)[i];
        const btf_type* variable = btf__type_by_id(types, one.type);
        if (variable != nullptr && std::string_view(btf__name_by_offset(types, variable->name_off)) == name) {
            found = &one;
        }
    }
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        std::size_t size = 0;
        if (found == nullptr || !bpf_map__is_internal(map) ||
            !std::string_view(bpf_map__name(map)).ends_with(".rodata")) {
            continue;
        }
        void* constants = const_cast<void*>(bpf_map__initial_value(map, &size));
        if (constants != nullptr && found->size == sizeof(value) && found->offset + sizeof(value) <= size) {
            std::memcpy(static_cast<char*>(constants) + found->offset, &value, sizeof(value));
            return {};
        }
    }
    return make_error(Code::kFailedPrecondition, "{} has no constant {} of {} bytes; it is of another version",
                      path, name, sizeof(value));
}

}  // namespace

void quiet_libbpf() {
    static std::once_flag once;
    std::call_once(once, [] { libbpf_set_print(keep_complaint); });
}

std::uint32_t tick_shift_for(std::uint32_t jiffies_per_second) {
    // 2^shift jiffies are between 0.71 s and 1.41 s: the nearest power of two, in its logarithm.
    const auto floor = static_cast<std::uint32_t>(std::bit_width(jiffies_per_second | 1U)) - 1;
    const std::uint64_t square = std::uint64_t{jiffies_per_second} * jiffies_per_second;
    const std::uint32_t nearest = square > (std::uint64_t{2} << (2 * floor)) ? floor + 1 : floor;
    return std::max(nearest, 1U);
}

Features Features::probe() {
    listen_to_libbpf();
    Features out;
    out.set_retval =
        libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, nullptr) == 1;
    out.xdp_frags =
        libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, BPF_FUNC_xdp_get_buff_len, nullptr) == 1;
    return out;
}

std::vector<std::string> Features::missing() const {
    std::vector<std::string> out;
    if (!set_retval) {
        out.emplace_back("bpf_set_retval (Linux 5.18): a refused connect() fails with EPERM");
    }
    if (!xdp_frags) {
        out.emplace_back("XDP in several buffers (Linux 5.18): devices with large frames are left to tc");
    }
    return out;
}

const std::array<SocketHook, 9>& socket_hooks() {
    static const std::array<SocketHook, 9> hooks{{
        // Answers before questions: a hook that rewrites back is in place when the first goes out.
        {"cgroup_release", "sluice_release", BPF_CGROUP_INET_SOCK_RELEASE, "cgroup/sock_release"},
        {"cgroup_recvmsg4", "sluice_recvmsg4", BPF_CGROUP_UDP4_RECVMSG, "cgroup/recvmsg4"},
        {"cgroup_recvmsg6", "sluice_recvmsg6", BPF_CGROUP_UDP6_RECVMSG, "cgroup/recvmsg6"},
        {"cgroup_peername4", "sluice_peername4", BPF_CGROUP_INET4_GETPEERNAME,
         "cgroup/getpeername4"},
        {"cgroup_peername6", "sluice_peername6", BPF_CGROUP_INET6_GETPEERNAME,
         "cgroup/getpeername6"},
        {"cgroup_sendmsg4", "sluice_sendmsg4", BPF_CGROUP_UDP4_SENDMSG, "cgroup/sendmsg4"},
        {"cgroup_sendmsg6", "sluice_sendmsg6", BPF_CGROUP_UDP6_SENDMSG, "cgroup/sendmsg6"},
        {"cgroup_connect4", "sluice_connect4", BPF_CGROUP_INET4_CONNECT, "cgroup/connect4"},
        {"cgroup_connect6", "sluice_connect6", BPF_CGROUP_INET6_CONNECT, "cgroup/connect6"},
    }};
    return hooks;
}

const char* tc_section(TcProgram program) {
    switch (program) {
        case TcProgram::kPodIngress: return "tc/pod_ingress";
        case TcProgram::kNodeIngress: return "tc/node_ingress";
        case TcProgram::kNodeEgress: return "tc/node_egress";
        case TcProgram::kPodEgress: return "tc/pod_egress";
    }
    return "";
}

Programs::~Programs() {
    for (bpf_object* object : objects_) {
        bpf_object__close(object);
    }
}

Result<void> Programs::check_complete(const EbpfOptions& options, Parts parts) const {
    for (const SocketHook& hook : socket_hooks()) {
        if (parts.hooks && options.socket_hooks && socket_program(hook) < 0) {
            return make_error(Code::kFailedPrecondition, "{}/socket.o lacks the program {}",
                              options.object_dir, hook.program);
        }
    }
    for (const TcProgram program : kTcPrograms) {
        if (parts.tc && options.tc && tc_program(program) < 0) {
            return make_error(Code::kFailedPrecondition, "{}/tc.o lacks the section {}",
                              options.object_dir, tc_section(program));
        }
    }
    return {};
}

Result<std::unique_ptr<Programs>> Programs::load(const EbpfOptions& options,
                                                 const Features& features, const KernelImage& image,
                                                 const std::string& state_directory, Parts parts) {
    std::unique_ptr<Programs> out(new Programs);
    struct Part {
        bpf_object* object;
        std::future<Result<void>> verified;
        bool needed;
    };
    std::vector<Part> loading;
    // State maps are made while the objects are opened, one after the other, so that all have the same.
    const auto begin = [&](const char* file, bool needed) -> Result<void> {
        SLUICE_TRY_ASSIGN(bpf_object* const object,
                          out->open_object(options, features, image, state_directory, file));
        const std::string path = options.object_dir + "/" + file;
        loading.push_back(
            {object, std::async(std::launch::async, [object, path] { return verify(object, path); }), needed});
        return {};
    };
    // The longest first.
    if (parts.tc && options.tc) {
        SLUICE_TRY(begin("tc.o", true));
    }
    if (parts.xdp && options.tc && options.xdp != XdpMode::kOff) {
        // Without it everything works, only slower.
        if (auto begun = begin("xdp.o", false); !begun) {
            out->xdp_refusal_ = begun.error().to_string();
        }
    }
    if (parts.hooks && options.socket_hooks) {
        SLUICE_TRY(begin("socket.o", true));
    }
    Result<void> outcome;
    for (Part& part : loading) {
        auto done = part.verified.get();
        if (done) {
            done = out->take_over(part.object, state_directory);
        }
        if (!done && part.needed) {
            outcome = done.error();
        } else if (!done) {
            out->xdp_refusal_ = done.error().to_string();
        }
    }
    SLUICE_TRY(std::move(outcome));
    SLUICE_TRY(out->check_complete(options, parts));
    return out;
}

Result<void> Programs::adopt_maps(bpf_object* object, const EbpfOptions& options,
                                  const KernelImage& image, const std::string& state_directory) {
    const auto specs = table_specs(image.capacities());
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        const std::string_view name = map_name(map);
        if (is_private(map) || bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY) {
            continue;
        }
        int fd = -1;
        Fd pinned;
        for (std::size_t i = 0; i < specs.size(); ++i) {
            if (name == specs[i].name) {
                fd = image.fd(static_cast<image::Table>(i));
                if (bpf_map__value_size(map) != specs[i].value_size) {
                    return make_error(Code::kFailedPrecondition,
                                      "table {} has {} bytes an entry in {}, {} in this program",
                                      name, bpf_map__value_size(map), options.object_dir,
                                      specs[i].value_size);
                }
            }
        }
        if (fd < 0) {
            const std::uint32_t entries = state_entries(options, name);
            if (entries != 0 && bpf_map__set_max_entries(map, entries) != 0) {
                return make_error(Code::kInternal, "cannot size the map {}", name);
            }
            const std::string path = state_directory + "/" + state_pin_name(name);
            pinned = Fd(bpf_obj_get(path.c_str()));
            if (!pinned) {
                for (const std::string& other : list_directory(state_directory)) {
                    if (state_base_name(other) == name) {
                        log::warn("ebpf", "{}/{} is of another version: {} starts empty",
                                  state_directory, other, name);
                    }
                }
                SLUICE_TRY(make_state(map, path));
                continue;
            }
            bpf_map_info info{};
            std::uint32_t length = sizeof(info);
            const bool same = bpf_obj_get_info_by_fd(pinned.get(), &info, &length) == 0 &&
                              info.type == bpf_map__type(map) &&
                              info.key_size == bpf_map__key_size(map) &&
                              info.value_size == bpf_map__value_size(map) &&
                              (entries != 0 || is_second_table(name) || info.max_entries == bpf_map__max_entries(map));
            if (!same) {
                log::warn("ebpf", "state map {} has another shape; starting it afresh", path);
                if (unlink(path.c_str()) != 0) {
                    return errno_error(errno, "cannot remove the pin {}", path);
                }
                SLUICE_TRY(make_state(map, path));
                continue;
            }
            fd = pinned.get();
        }
        // libbpf keeps a descriptor of its own.
        const int error = bpf_map__reuse_fd(map, fd);
        if (error != 0) {
            return errno_error(-error, "cannot hand the map {} to the programs", name);
        }
    }
    return {};
}

std::vector<std::string> Programs::superseded_state(const std::string& directory) const {
    std::vector<std::string> out;
    for (const std::string& pin : list_directory(directory)) {
        const bool other = std::any_of(state_.begin(), state_.end(), [&](const std::string& map) {
            return state_base_name(pin) == map && pin != state_pin_name(map);
        });
        if (other) {
            out.push_back(directory + "/" + pin);
        }
    }
    return out;
}

Result<void> Programs::keep_state(bpf_object* object, const std::string& state_directory) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        const std::string_view name = map_name(map);
        if (!is_state(map)) {
            continue;
        }
        state_.emplace_back(name);
        const std::string path = state_directory + "/" + state_pin_name(name);
        if (name == "sluice_flow_cfg") {
            SLUICE_TRY(write_flow_config(object, bpf_map__fd(map)));
        } else if (name == "sluice_aff_cfg") {
            SLUICE_TRY(write_affinity_config(object, bpf_map__fd(map)));
        }
        if (access(path.c_str(), F_OK) == 0) {
            continue;
        }
        const int error = bpf_obj_pin(bpf_map__fd(map), path.c_str());
        if (error != 0) {
            return errno_error(-error, "cannot pin {}", path);
        }
    }
    return {};
}

Result<bpf_object*> Programs::open_object(const EbpfOptions& options, const Features& features,
                                          const KernelImage& image,
                                          const std::string& state_directory,
                                          const std::string& file) {
    listen_to_libbpf();
    const std::string path = options.object_dir + "/" + file;
    std::error_code missing;
    if (!std::filesystem::exists(path, missing)) {
        return make_error(Code::kNotFound,
                          "the BPF object {} is not there; the build puts it into build/lib/bpf",
                          path);
    }
    bpf_object* object = bpf_object__open_file(path.c_str(), nullptr);
    if (object == nullptr) {
        return errno_error(errno, "cannot open the BPF object {}: {}", path, complaint);
    }
    objects_.push_back(object);
    if (file == "socket.o") {
        sluice_socket_facts facts{};
        facts.has_set_retval = features.set_retval ? 1 : 0;
        // What the hooks leave to the packet programs needs these.
        if (options.tc) {
            SLUICE_TRY_ASSIGN(facts.node_netns, netns_cookie());
        }
        SLUICE_TRY(write_constant(object, path, "sluice_facts", facts));
    } else if (file == "xdp.o") {
        const std::uint32_t frags = features.xdp_frags ? 1 : 0;
        SLUICE_TRY(write_constant(object, path, "sluice_xdp_frags", frags));
        SLUICE_TRY(write_constant(object, path, "sluice_recent_sets", recent_sets()));
        SLUICE_TRY(write_constant(object, path, "sluice_recent_keys", draw_recent_keys()));
    }
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object) {
        if (std::string_view(bpf_program__section_name(program)).starts_with("tc/")) {
            bpf_program__set_type(program, BPF_PROG_TYPE_SCHED_CLS);
        }
        if (std::string_view(bpf_program__section_name(program)).starts_with("xdp")) {
            // What calls each other by tail calls has to agree in all of this.
            bpf_program__set_type(program, BPF_PROG_TYPE_XDP);
            bpf_program__set_expected_attach_type(program, BPF_XDP);
            bpf_program__set_flags(program, features.xdp_frags ? BPF_F_XDP_HAS_FRAGS : 0);
        }
    }
    SLUICE_TRY(adopt_maps(object, options, image, state_directory));
    return object;
}

Result<void> Programs::take_over(bpf_object* object, const std::string& state_directory) {
    SLUICE_TRY(keep_state(object, state_directory));
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        if (bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY) {
            stages_[bpf_map__name(map)] = bpf_map__fd(map);
        }
    }
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object) {
        by_section_[bpf_program__section_name(program)] = bpf_program__fd(program);
        by_name_[bpf_program__name(program)] = bpf_program__fd(program);
    }
    return {};
}

Result<void> Programs::pin(const std::string& directory) const {
    for (const auto& [name, fd] : stages_) {
        const std::string path = fmt::format("{}/{}", directory, name);
        const int error = bpf_obj_pin(fd, path.c_str());
        if (error != 0) {
            return errno_error(-error, "cannot pin {}", path);
        }
    }
    return {};
}

int Programs::socket_program(const SocketHook& hook) const {
    const auto found = by_name_.find(hook.program);
    return found == by_name_.end() ? -1 : found->second;
}

int Programs::xdp_program() const {
    const auto found = by_section_.find("xdp");
    return found == by_section_.end() ? -1 : found->second;
}

int Programs::program(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? -1 : found->second;
}

int Programs::map(const std::string& name) const {
    for (const bpf_object* object : objects_) {
        const int fd = map_fd(object, name);
        if (fd >= 0) {
            return fd;
        }
    }
    return -1;
}

int Programs::tc_program(TcProgram program) const {
    const auto found = by_section_.find(tc_section(program));
    return found == by_section_.end() ? -1 : found->second;
}

}  // namespace sluice::dataplane
