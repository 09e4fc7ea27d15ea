//! VMware's I/O port.
#![allow(unsafe_code, reason = "an I/O instruction has no safe form")]

/// The registers of a call, before and after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) eax: u32,
    pub(super) ebx: u32,
    pub(super) ecx: u32,
    pub(super) edx: u32,
    pub(super) esi: u32,
    pub(super) edi: u32,
}

/// The low-bandwidth port, which carries data in registers only.
pub(super) const PORT: u16 = 0x5658;

/// The port of a machine whose processor says that VMware made it.
#[derive(Debug)]
pub(super) struct IoPort(());

#[cfg(target_arch = "x86_64")]
impl IoPort {
    /// The port; `None` on any other machine, where to touch it is a fault that ends the process.
    pub(super) fn open() -> Option<Self> {
        const HYPERVISOR_PRESENT: u32 = 1 << 31;
        let is_guest = core::arch::x86_64::__cpuid(1).ecx & HYPERVISOR_PRESENT != 0;
        let leaf = is_guest.then(|| core::arch::x86_64::__cpuid(0x4000_0000))?;
        let signature: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx].iter().flat_map(|part| part.to_le_bytes()).collect();
        if signature != b"VMwareVMware" {
            return None;
        }
        // The kernel is not asked for the port: lockdown and this process's own confinement would refuse it. VMware lets
        // processes use it whatever the processor's bitmap of ports says. Its own tools never ask, and KVM, where it
        // imitates the port (`enable_vmware_backdoor`), lets it through for the same reason.
        Some(Self(()))
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl IoPort {
    /// There are no I/O ports here.
    pub(super) fn open() -> Option<Self> {
        None
    }
}

impl super::rpc::Port for IoPort {
    #[cfg(target_arch = "x86_64")]
    fn call(&mut self, registers: &mut Registers) {
        let mut b = u64::from(registers.ebx);
        // SAFETY: under VMware, which `open` made sure of, this instruction only exchanges registers with the hypervisor:
        // the low-bandwidth protocol passes no addresses. The compiler's own register rbx is put back.
        unsafe {
            core::arch::asm!(
                "xchg rbx, {b}",
                "in eax, dx",
                "xchg rbx, {b}",
                b = inout(reg) b,
                inout("eax") registers.eax,
                inout("ecx") registers.ecx,
                inout("edx") registers.edx,
                inout("esi") registers.esi,
                inout("edi") registers.edi,
                options(nomem, nostack),
            );
        }
        // The upper half is not part of the protocol.
        registers.ebx = (b & u64::from(u32::MAX)) as u32;
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn call(&mut self, _: &mut Registers) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_there_only_under_vmware() {
        let product = std::fs::read_to_string("/sys/class/dmi/id/product_name").unwrap_or_default();
        assert_eq!(IoPort::open().is_some(), product.contains("VMware"));
    }
}
