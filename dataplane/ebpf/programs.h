// Loads the BPF objects against one table image. Every program passes the verifier before any is
// attached.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/base/fd.h"
#include "api/base/result.h"
#include "dataplane/ebpf/ebpf_engine.h"
#include "dataplane/ebpf/kernel_image.h"

struct bpf_object;

namespace sluice::dataplane {

// The shift that makes a tick of the flow table, jiffies >> shift, last about a second.
std::uint32_t tick_shift_for(std::uint32_t jiffies_per_second);

// What this kernel has; found by asking it.
struct Features {
    bool set_retval = false;  // Linux 5.18: a refused connect reads ECONNREFUSED, else EPERM
    bool xdp_frags = false;   // Linux 5.18: XDP sees frames of several buffers

    static Features probe();
    [[nodiscard]] std::vector<std::string> missing() const;
};

// Attach points of the socket hooks; attach_type is enum bpf_attach_type.
struct SocketHook {
    const char* pin;      // of its link
    const char* program;  // in socket.o
    int attach_type;
    const char* label;  // "cgroup/connect4"
};
const std::array<SocketHook, 9>& socket_hooks();

enum class TcProgram : std::uint8_t { kPodIngress, kNodeIngress, kNodeEgress, kPodEgress };
inline constexpr std::array kTcPrograms{TcProgram::kPodIngress, TcProgram::kNodeIngress,
                                        TcProgram::kNodeEgress, TcProgram::kPodEgress};
const char* tc_section(TcProgram program);

// Keeps libbpf's warnings off stderr: what matters of them is in the errors returned.
void quiet_libbpf();

// Which objects to load; what the options do not ask for is left out in any case.
struct Parts {
    bool hooks = true;
    bool tc = true;
    bool xdp = true;
};

class Programs {
public:
    Programs(const Programs&) = delete;
    Programs& operator=(const Programs&) = delete;
    ~Programs();

    // State maps (flows, socket storage, affinity) are taken from their pins in state_directory, or
    // made and pinned there. A pinned flow table keeps the size it has. A state map of another shape is replaced:
    // its version in api/abi/state.h should have changed. The verifier works on all objects at the same time, a thread
    // each.
    static Result<std::unique_ptr<Programs>> load(const EbpfOptions& options,
                                                  const Features& features,
                                                  const KernelImage& image,
                                                  const std::string& state_directory,
                                                  Parts parts = {});

    // Pins what has to live as long as the programs are attached, whoever still holds this object:
    // the kernel empties an array of programs with its last pin or user's descriptor.
    Result<void> pin(const std::string& directory) const;

    // Pins of state whose shape has another version than these programs use: for removal, once nothing else is
    // attached.
    [[nodiscard]] std::vector<std::string> superseded_state(const std::string& directory) const;

    // -1 if the object was not asked for.
    [[nodiscard]] int socket_program(const SocketHook& hook) const;
    [[nodiscard]] int tc_program(TcProgram program) const;
    // -1 also if the kernel refused it; xdp_refusal() then says why.
    [[nodiscard]] int xdp_program() const;
    [[nodiscard]] const std::string& xdp_refusal() const { return xdp_refusal_; }
    // A program or a map of one of the objects by its name; -1 if there is none.
    [[nodiscard]] int program(const std::string& name) const;
    [[nodiscard]] int map(const std::string& name) const;
    // Every program by its name; the descriptors are this object's.
    [[nodiscard]] const std::map<std::string, int>& all() const { return by_name_; }

private:
    Programs() = default;
    Result<bpf_object*> open_object(const EbpfOptions& options, const Features& features,
                                    const KernelImage& image, const std::string& state_directory,
                                    const std::string& file);
    // What the objects' programs are called, once they are loaded.
    Result<void> take_over(bpf_object* object, const std::string& state_directory);
    [[nodiscard]] Result<void> check_complete(const EbpfOptions& options, Parts parts) const;
    Result<void> adopt_maps(bpf_object* object, const EbpfOptions& options,
                            const KernelImage& image, const std::string& state_directory);
    Result<void> keep_state(bpf_object* object, const std::string& state_directory);

    std::vector<bpf_object*> objects_;
    std::string xdp_refusal_;
    std::map<std::string, int> by_section_;  // program descriptors, owned by the objects
    std::map<std::string, int> by_name_;
    std::vector<std::string> state_;  // names of the state maps
    std::map<std::string, int> stages_;  // arrays of programs by name, owned by the objects
};

}  // namespace sluice::dataplane
