// DPDK's environment: memory, lcores and drivers. One a process, for the process's life.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"

namespace sluice::dpdk {

// What is said to EAL at its start and what is left for later.
struct EalArguments {
    std::vector<std::string> now;      // without the program's name
    std::vector<std::string> devices;  // of --vdev, as rte_dev_probe() takes them
    // Every device can wait: no bus is scanned for hardware. Else the hardware's ports are opened by EAL's start.
    bool all_later = false;
};

// Takes virtual devices out of EAL's arguments, so that a successor starts while its predecessor still has them.
EalArguments split_devices(const std::vector<std::string>& arguments);

// Whether the arguments give EAL a file prefix or memory of its own, so that two can run side by side.
bool has_own_prefix(const std::vector<std::string>& arguments);

class Eal {
public:
    // kInvalidArgument: EAL refuses the arguments (it says on standard error which); kUnavailable: the machine lacks
    // what they ask for. A second call in a process fails with kFailedPrecondition.
    static Result<std::unique_ptr<Eal>> start(const std::vector<std::string>& arguments);
    virtual ~Eal() = default;

    // Kernel's name, driver's arguments: "net_tap0,iface=x". Names the device and what the driver answered.
    virtual Result<void> probe(const std::string& device) = 0;
    // EAL's numbers of the lcores that forward, the calling thread's first.
    [[nodiscard]] virtual const std::vector<unsigned>& lcores() const = 0;
    // "hugepages (2048 kB)", "no hugepages (--no-huge)", for people.
    [[nodiscard]] virtual const std::string& memory() const = 0;
    // Puts the calling thread where it does not compete with lcores, if the process may use another CPU.
    virtual void leave_lcores() const = 0;
    [[nodiscard]] virtual std::uint64_t cycles_per_second() const = 0;
};

}  // namespace sluice::dpdk
