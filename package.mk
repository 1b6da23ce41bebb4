# What AWS needs: the function's package, as `sam build` makes it, and the checks of template.yaml.
# Their tools have environments of their own below .tools/, since each pins what another one needs
# newer.

# For whom the package is. SAM tells the build neither: ARCHITECTURE=x86_64 sam build, and deploy
# with the parameter of the same name. (PYTHON_VERSION is not taken from the environment, where
# images of Python have one of their own.)
ARCHITECTURE ?= arm64
PYTHON_VERSION := 3.13

# Amazon Linux 2023, which python3.12 and later of Lambda run on, has glibc 2.34.
PLATFORM.arm64 := aarch64-manylinux_2_34
PLATFORM.x86_64 := x86_64-manylinux_2_34
PLATFORM = $(or $(PLATFORM.$(ARCHITECTURE)),$(error ARCHITECTURE should be arm64 or x86_64))

# The services of AWS that are called.
SERVICES := s3 secretsmanager ssm xray

PARTS = .tools/parts/$(PYTHON_VERSION)-$(ARCHITECTURE)
PACKAGES := build/package
SAM := AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 .tools/lint/bin/sam
TOOLS := build lint checkov
SOURCES := $(shell find handler.py ingest -name __pycache__ -prune -o -print)

.PHONY: build-IngestFunction build-WorkerFunction package package-check lint clean-package $(TOOLS:%=lock-%)

# With the function's own Python at hand, modules are compiled here, once, and not in every cold
# start, where the package is read-only: that halves its time. The result is for sources that do not
# change any more, whatever time an archive gives them; another Python takes the sources themselves.
# Where it is not at hand, the package works as well, and starts slower.
define COMPILE
export PATH="$(BIN):$$PATH" PYTHONHASHSEED=0; \
if python$(PYTHON_VERSION) -c "" 2>/dev/null; then \
    python$(PYTHON_VERSION) -m compileall -q --invalidation-mode unchecked-hash \
        -s "$(ARTIFACTS_DIR)" -p /var/task "$(ARTIFACTS_DIR)"; \
else \
    echo "no python$(PYTHON_VERSION) here to compile the package: its cold starts take longer" >&2; \
fi
endef

# Times are set to one moment, as is the order of sets: the same sources make the same package.
build-IngestFunction: $(PARTS).stamp
	@test -n "$(ARTIFACTS_DIR)" || { echo "ARTIFACTS_DIR should name a directory" >&2; exit 2; }
	@mkdir -p "$(ARTIFACTS_DIR)"
	@cp -R $(PARTS)/. "$(ARTIFACTS_DIR)"
	@.tools/build/bin/python package.py own "$(ARTIFACTS_DIR)"
	@$(COMPILE)
	@find "$(ARTIFACTS_DIR)" -exec touch -d 2020-01-01T00:00:00Z {} +

build-WorkerFunction: build-IngestFunction # the same code, which runs otherwise

package: $(PACKAGES)/stamp ## build the function for both architectures, and for this Python

package-check: package .venv/dev.stamp ## the package is small, whole and has what it imports
	$(BIN)/pytest tests/test_package.py

lint: .tools/lint.stamp .tools/checkov.stamp ## template.yaml: sam, cfn-lint, serverless rules, checkov
	@$(SAM) validate --lint
	.tools/lint/bin/cfn-lint template.yaml --append-rules cfn_lint_serverless.rules --include-checks I
	.tools/checkov/bin/checkov --file template.yaml --framework cloudformation --skip-download \
	    --compact --quiet

test: lint package

lock: $(TOOLS:%=lock-%)

$(TOOLS:%=lock-%): lock-%: .venv/dev.stamp
	$(subst pyproject.toml,--group $*,$(LOCK)) -o requirements-$*.txt

clean: clean-package

clean-package:
	rm -rf .aws-sam .tools build

# arm64 and x86_64 are SAM's own builds; here is for the Python that runs the tests.
$(PACKAGES)/stamp: $(SOURCES) requirements.txt template.yaml samconfig.toml package.mk package.py \
    .tools/lint.stamp .tools/build.stamp .venv/run.stamp
	@rm -rf $(PACKAGES)
	@for architecture in arm64 x86_64; do \
	    ARCHITECTURE=$$architecture $(SAM) build --build-dir $(PACKAGES)/$$architecture \
	        --parameter-overrides Architecture=$$architecture || exit; \
	done
	@$(MAKE) --no-print-directory build-IngestFunction ARTIFACTS_DIR=$(PACKAGES)/here \
	    ARCHITECTURE=$(patsubst aarch64,arm64,$(shell uname -m)) \
	    PYTHON_VERSION=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	@touch $@

# What the package has beside the function's own files. By uv and not by pip, since it looks at
# markers and wheels for the function's Python instead of the one it runs on: only wheels, only those
# that requirements.txt names, hash by hash. What is taken out again is for people and for pip.
$(PARTS).stamp: requirements.txt package.mk package.py .tools/build.stamp
	@rm -rf $(PARTS)
	@.tools/build/bin/uv pip install --quiet --python .tools/build/bin/python \
	    --python-version $(PYTHON_VERSION) --python-platform $(PLATFORM) \
	    --only-binary :all: --require-hashes --no-deps --link-mode copy \
	    --target $(PARTS) --requirement requirements.txt
	@cd $(PARTS) && rm -rf bin .lock *.dist-info/RECORD
	@.tools/build/bin/python package.py services $(PARTS) $(SERVICES)
	@touch $@

.tools/build.stamp: requirements-build.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "needs Python 3.11 or newer: PYTHON=python3.x sam build")'
	@rm -rf .tools/build && $(PYTHON) -m venv .tools/build
	@.tools/build/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.tools/lint.stamp .tools/checkov.stamp: .tools/%.stamp: requirements-%.txt .tools/build.stamp
	@.tools/build/bin/uv venv --quiet --clear --python .tools/build/bin/python .tools/$*
	@.tools/build/bin/uv pip install --quiet --python .tools/$*/bin/python -r $<
	@touch $@
