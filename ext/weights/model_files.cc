#include "weights/model_files.h"

#include <memory>
#include <string_view>

#include "weights/model_error.h"

namespace predictor {

ModelFiles::ModelFiles(const WeightPlaces& places) {
  for (const std::string& path : places.files) files_.emplace_back(path);
  for (const auto& [name, place] : places.weights) weights_[name] = placed(name, place, places.files);
  for (const auto& [name, added] : places.added) {
    const auto found = weights_.find(name);
    if (found == weights_.end()) throw ModelError("the adapter is for a weight that is not there: " + name);
    found->second.added = std::make_shared<LowRank>(LowRank{placed(name + " (adapter)", added.down, places.files),
                                                            placed(name + " (adapter)", added.up, places.files),
                                                            added.scale, added.turned});
  }
}

Weight ModelFiles::placed(const std::string& name, const WeightPlace& place,
                          const std::vector<std::string>& files) const {
  if (place.file >= files_.size()) throw ModelError("weight " + name + " is in no file");
  const std::string_view bytes = files_[place.file].bytes();
  if (place.offset > bytes.size() || place.size > bytes.size() - place.offset) {
    throw ModelError(files[place.file] + " is cut short: weight " + name + " is not all in it");
  }
  Weight found{place.dtype, place.shape,        bytes.substr(place.offset, place.size),
               nullptr,     place.paired_heads, place.shift};
  if (place.grouped) {
    const GroupedPlaces& parts = *place.grouped;
    found.grouped = std::make_shared<GroupedNumbers>(
        GroupedNumbers{placed(name + " (zeros)", parts.zeros, files), placed(name + " (scales)", parts.scales, files),
                       parts.groups ? placed(name + " (g_idx)", *parts.groups, files) : Weight(), parts.group_size,
                       parts.bits, parts.zero_shift, parts.interleaved});
  }
  return found;
}

void ModelFiles::forget() const {
  for (const MappedFile& file : files_) file.forget();
}

}  // namespace predictor
