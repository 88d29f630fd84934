/* Late lease against two cases that fence the same scope. One lease, one client retry. Per-case amendment with a key made of case and lease.
 fix checked: whoever meets a lease that is not acknowledged (registering or late) writes that case's amendment and never counts it in a chunk.
 flag SKIPLATE: a chunk skips late leases (belongs to somebody else's amendment); ONEFENCE: the fence names the last case only, registrar amends that one
   Code: functions/store/amendments.ts (amend), revoke/gather.ts (handOver, tellOthers), sweep/sweep.ts (sweepRegistrations); amendments.pml goes on from here.
   Runs:
     holds
     breaks -DSKIPLATE
     holds -DCR=2
*/
#define NONE 0
#define REG 1
#define LIVE 2
#define LATE 3
#define DEAD 4
#ifndef CR
#define CR 1
#endif
byte crashes=CR;
byte st; bit fence[2]; byte lastc=9; byte am[2]; bit chdone[2]; byte cnt[2]; bit ack; bit before[2]; byte tries; bit cred=1; bit isl; /* was acknowledged */ byte took[2]; bit regEnd; bit seen[2];
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
#define AM(c) if :: am[c]==0 -> am[c]=1; printf("amend case %d\n",c) :: else fi
proctype Reg() { bit f0,f1; byte lc;
again: tries++;
 atomic { if :: st==NONE -> st=REG; printf("lease\n") :: else fi; CRASH };
 atomic { f0=fence[0]; f1=fence[1]; lc=lastc; printf("looks %d %d\n",f0,f1); CRASH };
 if :: !f0 && !f1 -> atomic { if :: st==REG || (st==LIVE) -> st=LIVE; ack=1; isl=1; printf("ACK\n") :: else fi; CRASH }
 :: else -> atomic { if :: !isl -> if :: st==REG -> st=LATE :: else fi;
#ifdef ONEFENCE
     if :: lc==0 -> seen[0]=1; AM(0) :: lc==1 -> seen[1]=1; AM(1) fi
#else
     if :: f0 -> seen[0]=1; AM(0) :: else fi; if :: f1 -> seen[1]=1; AM(1) :: else fi
#endif
     :: else fi; CRASH }
 fi;
dead: if :: tries<2 -> goto again :: else fi; regEnd=1; f0=0;f1=0;lc=0
}
proctype Case(byte c) { byte s; byte n;  /* chunk worker, may run twice in parallel */
again:
 atomic { if :: !fence[c] -> fence[c]=1; lastc=c; before[c]=isl; printf("case %d fences\n",c) :: else fi; CRASH };
 atomic { s=st; n=0; if :: s!=NONE -> seen[c]=1 :: else fi; CRASH };
 if :: s==REG || (s==LATE && !isl) || (s==DEAD && !isl) ->
   atomic { 
    if :: isl -> goto again :: else fi;   /* became acknowledged meanwhile: conditional write failed */
#ifdef SKIPLATE
    if :: st==REG -> st=LATE; AM(c) :: else fi;
#else
    if :: st==REG -> st=LATE :: else fi; AM(c);
#endif
    CRASH }
 :: s!=NONE && isl -> atomic { cred=0; CRASH }; atomic { st=DEAD; CRASH }; n=1
 :: else fi;
 atomic { if :: !chdone[c] -> chdone[c]=1; cnt[c]=cnt[c]+n; printf("case %d chunk done, counts %d\n",c,n) :: else fi; CRASH };
 goto fin;
dead: goto again;
fin: s=0; n=0
}
proctype Amend() { byte c;
end: do :: atomic { am[0]==1 -> c=0; am[0]=2; cred=0; st=DEAD; cnt[0]++; printf("amendment 0 done\n") }
    :: atomic { am[1]==1 -> am[1]=2; cred=0; st=DEAD; cnt[1]++; printf("amendment 1 done\n") } od }
proctype Sweep() {
end: do :: atomic { st==REG && regEnd -> st=DEAD; cred=0; printf("swept\n") } od }
init { atomic { run Reg(); run Case(0); run Case(1); run Amend(); run Sweep();
#ifdef DUP
 run Case(0);
#endif
 }
 timeout; printf("end st %d cnt %d %d cred %d\n",st,cnt[0],cnt[1],cred);
 assert(!cred || st==NONE); assert(cnt[0]<=1 && cnt[1]<=1);
 assert(!before[0] || cnt[0]==1); assert(!before[1] || cnt[1]==1);
 assert(!seen[0] || cnt[0]==1); assert(!seen[1] || cnt[1]==1);
 assert(isl || st==NONE || cnt[0]+cnt[1]>0 || 1);
}
