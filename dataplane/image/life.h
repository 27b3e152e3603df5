// What engines share about an image's life: how the first one is filled, what it takes over from the one before, and
// how a whole state or a difference becomes changes of single services. Where an image lies, and how packets are turned
// to it, is each engine's own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "api/base/result.h"
#include "dataplane/image/publisher.h"

namespace sluice::image {

// Doublings of one table or another before an image that will not fit is given up.
inline constexpr int kMaxGrowths = 64;
// More retired pieces than this are worth waiting for before an image grows.
inline constexpr std::size_t kRetiredWorthWaiting = 64;

// Never 0.
std::uint64_t random_seed();

// What a successor starts from when it knows nothing of what flows remember: so many free backends, of an incarnation
// that no flow has.
Carried carried_from_nothing(std::uint32_t backends);
// The incarnation of backends beyond carried.backends, where nothing is known of what flows remember; else 0.
std::uint32_t fresh_incarnation(const Carried& carried);

// Room for the services and for all that is carried.
Capacities first_capacities(const Node& node, std::span<const Service> services, const Carried& carried,
                            std::uint32_t counter_rows);

// Writes header and services into tables of zeroes. On kResourceExhausted `wanted` is what would do.
Result<std::unique_ptr<Publisher>> fill(const Tables& tables, const Capacities& capacities, const HeaderFacts& facts,
                                        std::span<const Service> services, const Carried& carried, Capacities& wanted);

// The second half of a change of image: header, everything that is published with the index it has, and incarnations of
// the backends that it adds (0: as they are).
Result<void> copy_all(const Publisher& publisher, const Tables& successor, const Capacities& capacities,
                      const HeaderFacts& facts, std::uint32_t fresh);

// How an engine runs a step of publishing one service: makes room, tries again, tells others of the change.
using Step = std::function<Result<void>()>;
using RunStep = std::function<Result<void>(const ServiceKey&, const Step&)>;

// Runs a step again for as long as it is told kResourceExhausted: `collect` frees what is retired,
// and where that is too little (false) `grow` replaces the image by a larger one. At most
// kMaxGrowths times; the last outcome is returned.
Result<void> with_room(const Step& step, const std::function<bool()>& collect, const Step& grow);

// Each service by itself; the first error is returned, the others are in force.
Result<void> publish_all(Publisher& publisher, std::span<const Service> services, const RunStep& run);
Result<void> publish_change(Publisher& publisher, const Change& change, const RunStep& run);

}  // namespace sluice::image
